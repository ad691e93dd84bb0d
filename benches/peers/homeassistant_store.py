"""Bonds in Home Assistant's own storage, the way habluetooth documents it: `Store` for the file, its key dicts in it.

usage: homeassistant_store.py CONFIG_FOLDER BONDS ADAPTERS

Makes the file where there is none. Then says `ready MICROSECONDS`, which it took to load it in a process that runs already, and for each
line of its input what that took, in microseconds, from the changed key until the file is in its place:

  save    Store.async_save, with the store as it is documented: written, renamed, not synced
  atomic  the same with the store's option `atomic_writes`, which syncs the file and its folder; the documented path does not set it
  delay   Store.async_delay_save with the documented five seconds
"""
import asyncio
import os
import sys
import time

from habluetooth import LongTermKey, long_term_key_from_dict, long_term_key_to_dict
from homeassistant.core import HomeAssistant  # before its helpers: they need it
from homeassistant.helpers.storage import Store

VERSION = 1
KEY = "bluetooth.bonds"
SAVE_DELAY = 5
LIMIT = 60
P256_UNAUTHENTICATED = 2
LE_PUBLIC = 1


def long_term_key(number, salt):
    """The key of a bond as the benches number them."""
    octets = bytes([1, number & 0xFF, number >> 8 & 0xFF, number >> 16 & 0xFF, 0xFF, 0xC0])
    value = octets + b"\x5a\x5a" + (salt * 0x9E3779B97F4A7C15 & (1 << 64) - 1).to_bytes(8, "little")
    return LongTermKey(address=octets[::-1].hex(":").upper(), address_type=LE_PUBLIC, key_type=P256_UNAUTHENTICATED,
                       central=False, encryption_size=16, ediv=0, rand=bytes(8), value=value)


class Bonds:
    def __init__(self, hass):
        self.store = Store(hass, VERSION, KEY)
        self.atomic = Store(hass, VERSION, KEY, atomic_writes=True)
        self.keys = {}
        self.data = {}

    async def load(self):
        self.data = await self.store.async_load() or {}
        for adapter, saved in self.data.items():
            self.keys[adapter] = {key["address"]: long_term_key_from_dict(key) for key in saved}

    def dicts(self, adapter):
        self.data[adapter] = [long_term_key_to_dict(key) for key in self.keys[adapter].values()]
        return self.data

    def change(self, number, adapters, salt):
        """A key has changed: its adapter's list is made anew, as when habluetooth says that its keys have changed."""
        key, adapter = long_term_key(number, salt), f"hci{number % adapters}"
        self.keys.setdefault(adapter, {})[key.address] = key
        return self.dicts(adapter)

    async def delay(self, data):
        """Until the file is another: the store tells nobody when it has written."""
        path, limit = self.store.path, time.monotonic() + LIMIT
        before = os.stat(path).st_ino
        self.store.async_delay_save(lambda: data, SAVE_DELAY)
        while os.stat(path).st_ino == before:
            if time.monotonic() > limit:
                raise TimeoutError("the delayed save did not come")
            await asyncio.sleep(0.005)


def micros(begin):
    return int((time.perf_counter() - begin) * 1e6)


async def main():
    folder, bonds, adapters = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    hass = HomeAssistant(folder)
    hass.config.config_dir = folder
    store = Bonds(hass)
    if not os.path.exists(store.store.path):
        for number in range(bonds):
            key = long_term_key(number, 1)
            store.keys.setdefault(f"hci{number % adapters}", {})[key.address] = key
        for adapter in store.keys:
            store.dicts(adapter)
        await store.store.async_save(store.data)
    begin = time.perf_counter()
    await store.load()
    took = micros(begin)
    assert sum(len(keys) for keys in store.keys.values()) == bonds
    print("ready", took, flush=True)
    salt = 1
    while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
        salt += 1
        begin = time.perf_counter()
        data = store.change(salt % bonds, adapters, salt)
        if line == "delay":
            await store.delay(data)
        else:
            await getattr(store, {"save": "store", "atomic": "atomic"}[line]).async_save(data)
        print(micros(begin), flush=True)


asyncio.run(main())
