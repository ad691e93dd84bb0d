"""The simulated air: the kernel's controllers and the peers that they can hear. Everything of
bumble's runs on one event loop in a thread of its own; the methods here may be called from others."""
import asyncio
import struct
import threading

from bumble.link import LocalLink

from controllers import CONNECTION_TIMEOUT, Controller, Plug
from peers import Peer

LIMIT = 30.0


class Air:
    def __init__(self):
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True, name="air").start()
        self._link = self._call(LocalLink)

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(LIMIT)

    def _call(self, function, *args):
        async def called():
            return function(*args)
        return self._run(called())

    def plug(self, name, address):
        """Plugs a controller with that public address into the kernel."""
        plug = self._call(lambda: Plug(self._loop, Controller(name, self._link, address)))
        if not plug.ready.wait(LIMIT):
            raise TimeoutError(f"the kernel gave {name} no index")
        return plug

    def unplug(self, plug):
        def gone():
            plug.controller.drop_links(CONNECTION_TIMEOUT)
            self._link.remove_controller(plug.controller)
            plug.close()
        self._call(gone)

    def add_peer(self, spec, memory=None):
        """Makes a peer that advertises from now on."""
        async def made():
            peer = Peer(spec, self._link, memory)
            await peer.start()
            return peer
        return self._run(made())

    def remove_peer(self, peer):
        def gone():
            peer.controller.drop_links(CONNECTION_TIMEOUT)
            self._link.remove_controller(peer.controller)
        self._call(gone)

    def flood(self, plug, count, rate):
        """The controller reports so many advertisements of ever new devices, so many a second."""
        async def flooded():
            burst = 10
            for number in range(count):
                address = struct.pack("<I", number) + b"\x00\xc0"
                report = b"\x02\x01\x00\x01" + address + b"\x03\x02\x01\x06\xc4"
                plug.on_packet(b"\x04\x3e" + bytes([len(report)]) + report)
                if number % burst == burst - 1:
                    await asyncio.sleep(burst / rate)
        asyncio.run_coroutine_threadsafe(flooded(), self._loop).result(LIMIT + 4 * count / rate)

    def rotate(self, peer):
        self._run(peer.rotate())

    def forget_bonds(self, peer):
        self._run(peer.forget_bonds())
