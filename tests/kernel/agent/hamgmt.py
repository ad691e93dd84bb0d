"""Home Assistant's own client (habluetooth's HaMgmtClient) over its own management socket.

usage: hamgmt.py ADAPTER_ADDRESS ADAPTER_INDEX

Takes one JSON line for each connection, {address, address_type, pair, uuid}, and answers with {value} (what the
characteristic reads as) or {error}. As in Home Assistant, its list of keys is loaded before each connection, and
holds what it has paired itself."""
import asyncio
import contextlib
import json
import sys

from bleak.backends.device import BLEDevice
from habluetooth.channels.bluez import MGMTBluetoothCtl
from habluetooth.client_mgmt import HaMgmtClient, MgmtClientData

LIMIT = 20.0


class Scanner:
    """Does not scan, so there is nothing to pause."""

    @contextlib.contextmanager
    def connecting(self):
        yield


async def connect(data, order):
    device = BLEDevice(order["address"], None, details={"address_type": order["address_type"]})
    client = HaMgmtClient(device, client_data=data, timeout=LIMIT, disconnected_callback=None)
    await client.connect(pair=order["pair"])
    try:
        value = await client.read_gatt_char(client.services.get_characteristic(order["uuid"]))
        return {"value": bytes(value).decode()}
    finally:
        await client.disconnect()
        # The kernel keeps the link for two seconds otherwise, and the next connection would find it encrypted.
        await data.mgmt.disconnect_device(data.adapter_idx, order["address"], order["address_type"])


async def main(adapter, index):
    mgmt = MGMTBluetoothCtl(LIMIT, {})
    await mgmt.setup()
    keys = []

    def forget(address):
        keys[:] = [key for key in keys if key.address != address]

    data = MgmtClientData(
        adapter_address=adapter, scanner=Scanner(), adapter_idx=index, mgmt=mgmt,
        get_long_term_keys=lambda: list(keys), add_long_term_key=keys.append,
        forget_long_term_keys=forget)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        try:
            answer = await asyncio.wait_for(connect(data, json.loads(line)), LIMIT * 2)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    mgmt.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
