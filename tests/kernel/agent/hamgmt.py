"""Home Assistant's own client (habluetooth's HaMgmtClient) over its own management socket.

usage: hamgmt.py ADAPTER_ADDRESS ADAPTER_INDEX

Takes one JSON line for each connection, {address, address_type, pair, uuid, patient}, and answers with {value} (what the
characteristic reads as) or {error}. As in Home Assistant, its list of keys is loaded before each connection, and
holds what it has paired itself. {load} has the list loaded as many times, one after the other, and is answered with
{loaded}.

`patient`: it has no key of the peer, so its socket asks for encryption when a read is refused, and the kernel takes
nothing from that socket until the link is encrypted (ENOTCONN; poll(2) says so). The client as it is published sends
at once and gives up, with whatever manager; a patient one polls first, as bluetoothd does. A client that is not
patient leaves the link as it is when it has failed."""
import asyncio
import contextlib
import json
import logging
import sys

from bleak.backends.device import BLEDevice
from habluetooth.channels.bluez import MGMTBluetoothCtl
from habluetooth.channels.l2cap import L2CAPSocket
from habluetooth.client_mgmt import HaMgmtClient, MgmtClientData

LIMIT = 20.0


class Scanner:
    """Does not scan, so there is nothing to pause."""

    @contextlib.contextmanager
    def connecting(self):
        yield


async def patient_send(channel, data, send=L2CAPSocket.send):
    loop, writable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(channel._sock.fileno(), writable.set)
    try:
        await writable.wait()
    finally:
        loop.remove_writer(channel._sock.fileno())
    await send(channel, data)


published_send = L2CAPSocket.send


async def connect(data, order):
    patient = order.get("patient", False)
    L2CAPSocket.send = patient_send if patient else published_send
    device = BLEDevice(order["address"], None, details={"address_type": order["address_type"]})
    client = HaMgmtClient(device, client_data=data, timeout=LIMIT, disconnected_callback=None)
    await client.connect(pair=order["pair"])
    try:
        value = await client.read_gatt_char(client.services.get_characteristic(order["uuid"]))
    finally:
        await client.disconnect()
    # The kernel keeps the link for two seconds otherwise, and the next connection would find it encrypted.
    await data.mgmt.disconnect_device(data.adapter_idx, order["address"], order["address_type"])
    return {"value": bytes(value).decode()}


async def load(data, count):
    for _ in range(count):
        if not await data.mgmt.load_long_term_keys(data.adapter_idx, data.get_long_term_keys()):
            return {"error": "the kernel refused the list"}
    return {"loaded": count}


async def main(adapter, index):
    # Its codec leaves the answer to a read that failed to nobody.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
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
        order = json.loads(line)
        work = load(data, order["load"]) if "load" in order else connect(data, order)
        try:
            answer = await asyncio.wait_for(work, LIMIT * 2)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    mgmt.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
