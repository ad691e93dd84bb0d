"""The world of tests/blackbox/world.rs on a real kernel: one method per operation. Arguments come
from a request, results go into its answer; an exception is the answer that the world could not do
its part. Every wait is for an event, with a limit."""
import os
import time
from dataclasses import dataclass

import debugfs
import mgmt
import monitor
from air import Air
from bluetoothd import Bluetoothd
from controllers import Plug
from l2cap import AttChannel
from mgmt import CommandFailed, Listener, Mgmt
from monitor import Monitor
from peers import Spec
from wire import LE_PUBLIC, mgmt_address

LIMIT = 15.0
PAIR_LIMIT = 30.0
CONNECT_LIMIT = 15.0
POLL = 0.02                                     # for what the kernel tells nobody about

NO_INPUT_NO_OUTPUT = 3
UNPAIR_AND_DISCONNECT = 1
DEBUG_KEYS_ON = 2                               # use them, and keep what comes of it
LTK_RECORD = 36
BLOCKED_LTK = 1


@dataclass
class Adapter:
    address: str
    plug: Plug
    plugged: int                                # monitor position just before it was plugged in

    @property
    def index(self):
        return self.plug.index


class World:
    def __init__(self):
        self.monitor = Monitor()                # first: it should see everything
        self.listener = Listener()
        self.events = self.listener.events
        self.client = Mgmt()
        self.air = Air()
        self.bluetoothd = Bluetoothd(self.monitor)
        self.adapters = {}
        self.peers = {}
        self.irks = set()                       # of every peer there ever was
        self.memory = None                      # the folder that outlasts the machine

    def close(self):
        self.bluetoothd.close()
        for name in list(self.adapters):
            self.unplug(name)

    def _now(self):
        """The positions in the monitor's records and in the events after all that has happened."""
        self.monitor.fence(self.client)
        self.listener.fence()
        return self.monitor.records.mark(), self.events.mark()

    def keep(self, folder):
        """What the peers and bluetoothd know outlasts the machine, in this folder, and is there again when a later
        world keeps the same: {}. Before the first peer and the first bluetoothd."""
        if self.peers:
            raise ValueError("there are peers already")
        self.memory = os.path.join(folder, "peers")
        os.makedirs(self.memory, exist_ok=True)
        self.bluetoothd.keep(os.path.join(folder, "bluetooth"))

    # ---- adapters

    def _adapter(self, name):
        if name not in self.adapters:
            raise KeyError(f"no adapter {name!r} is plugged in")
        return self.adapters[name]

    def plug(self, adapter, address):
        """Plugs a controller in, powered off: {index}."""
        if adapter in self.adapters:
            raise ValueError(f"{adapter} is plugged in already")
        plugged, mark = self._now()
        plug = self.air.plug(adapter, address)
        self.adapters[adapter] = Adapter(address, plug, plugged)
        self._await_event(mgmt.INDEX_ADDED, plug.index, mark, "Index Added")
        return {"index": plug.index}

    def unplug(self, adapter):
        """Pulls it out: {}."""
        gone = self._adapter(adapter)
        mark = self.events.mark()
        self.air.unplug(gone.plug)
        del self.adapters[adapter]
        self._await_event(mgmt.INDEX_REMOVED, gone.index, mark, "Index Removed")

    def index(self, adapter):
        """{index}"""
        return {"index": self._adapter(adapter).index}

    def set_powered(self, adapter, on):
        """Powers it on (as `pair` and `connect` do by themselves) or off: {}."""
        index = self._adapter(adapter).index
        if on:
            self._power_on(index)
        else:
            self.client.ok(mgmt.SET_POWERED, b"\0", index)

    def power_off(self, adapter):
        """{}"""
        self.set_powered(adapter, False)

    def set_privacy(self, adapter, privacy, irk):
        """Another program sets the adapter's own identity: {taken}."""
        other = Mgmt()                          # a socket, so a cookie, of its own
        try:
            parameters = bytes([privacy]) + bytes.fromhex(irk)
            status, _ = other.command(mgmt.SET_PRIVACY, parameters, self._adapter(adapter).index)
        finally:
            other.close()
        self.irks.add(irk)
        return {"taken": status == 0}

    def local_irk(self, adapter):
        """The key of its own identity that the kernel uses: {irk}, or null."""
        return {"irk": debugfs.local_irk(self._adapter(adapter).index)}

    def _power_on(self, index):
        """Brings an adapter into the state in which a host pairs and connects, whatever it was.
        Secure Connections is always on: the peer decides which pairing comes of it."""
        settings = self.client.settings(index)
        for bit, command in ((mgmt.LE, mgmt.SET_LE), (mgmt.BONDABLE, mgmt.SET_BONDABLE),
                             (mgmt.SECURE_CONNECTIONS, mgmt.SET_SECURE_CONNECTIONS)):
            if not settings & bit:
                self.client.ok(command, b"\1", index)
        self.client.ok(mgmt.SET_IO_CAPABILITY, bytes([NO_INPUT_NO_OUTPUT]), index)
        if not settings & mgmt.POWERED:
            self.client.ok(mgmt.SET_POWERED, b"\1", index)

    def _await_event(self, code, index, mark, what, limit=LIMIT):
        if self.events.wait(lambda e: e.code == code and e.index == index, mark, limit) is None:
            raise TimeoutError(f"no {what} for index {index} in {limit} s")

    def flood(self, adapter, count, rate=500):
        """While somebody scans, as many advertisements a second as on a busy street: {seen}, how many the monitor
        channel has shown to whoever has no filter."""
        here = self._adapter(adapter)
        self._power_on(here.index)
        le = bytes([6])
        before = self.monitor.advertisements
        # A discovery ends by itself after ten seconds.
        while count > 0:
            part = min(count, 8 * rate)
            self.client.ok(mgmt.START_DISCOVERY, le, here.index)
            self.air.flood(here.plug, part, rate)
            self.client.command(mgmt.STOP_DISCOVERY, le, here.index)
            count -= part
        self._now()
        return {"seen": self.monitor.advertisements - before}

    # ---- peers

    def _peer(self, name):
        if name not in self.peers:
            raise KeyError(f"there is no peer {name!r}")
        return self.peers[name]

    def add_peer(self, name, address, public=True, secure_connections=True, privacy=False,
                 bonding=True):
        """Makes a peer that advertises: {}."""
        if name in self.peers:
            raise ValueError(f"there is a peer {name!r} already")
        peer = self.air.add_peer(Spec(name, address, public, secure_connections, privacy, bonding), self.memory)
        self.peers[name] = peer
        self.irks.add(peer.irk.hex())

    def remove_peer(self, peer):
        """Takes it off the air for good: {}."""
        self.air.remove_peer(self._peer(peer))
        del self.peers[peer]

    def reset_peer(self, peer):
        """The peer loses all its bonds: {}."""
        self.air.forget_bonds(self._peer(peer))

    # ---- pairing and connecting

    def pair(self, adapter, peer, debug_keys=False, not_bondable=False):
        """Pairs and disconnects: {paired, status, status_name, address, keys}. `keys` has what the
        kernel announced meanwhile (see Event.key); paired needs an LTK among it, because the
        command's Success alone is no evidence of a bond."""
        index, remote = self._adapter(adapter).index, self._peer(peer)
        self._power_on(index)
        if debug_keys:
            self.client.ok(mgmt.SET_DEBUG_KEYS, bytes([DEBUG_KEYS_ON]), index)
        if not_bondable:
            self.client.ok(mgmt.SET_BONDABLE, b"\0", index)
        address = self._pairing_address(index, remote)
        (_, mark), paired_before = self._now(), remote.log.mark()
        try:
            status = self._pair_device(index, mgmt_address(*address))
            if status == 0 and remote.log.wait(lambda _: True, paired_before, LIMIT) is None:
                raise TimeoutError(f"{peer} did not finish pairing")
            self._disconnect(index, remote)
        finally:
            if debug_keys:
                self.client.ok(mgmt.SET_DEBUG_KEYS, b"\0", index)
            if not_bondable:
                self.client.ok(mgmt.SET_BONDABLE, b"\1", index)
        keys = self._new_keys(index, mark)
        return {"paired": status == 0 and any(key["key"] == "ltk" for key in keys),
                "status": status, "status_name": mgmt.status_name(status),
                "address": address[0], "keys": keys}

    def _pairing_address(self, index, peer):
        """The address to name to the kernel: the one on the air, unless the kernel can resolve
        that, for then it knows the device by its identity only."""
        known = {(row["address"], row["random"]) for row in debugfs.identity_resolving_keys(index)}
        if (peer.spec.address, not peer.spec.public) in known:
            return peer.spec.address, peer.identity_type
        return peer.on_air

    def _pair_device(self, index, address):
        try:
            status, _ = self.client.command(
                mgmt.PAIR_DEVICE, address + bytes([NO_INPUT_NO_OUTPUT]), index, PAIR_LIMIT)
            return status
        except CommandFailed:
            self.client.command(mgmt.CANCEL_PAIR, address, index)
            raise

    def _new_keys(self, index, mark):
        self.listener.fence()
        return [key for event in self.events.since(mark)
                if event.index == index and (key := event.key())]

    def _disconnect(self, index, peer):
        """Ends every connection of the adapter; returns when both sides know."""
        end = time.monotonic() + LIMIT
        while connections := self.client.connections(index):
            if time.monotonic() > end:
                raise TimeoutError(f"index {index} does not disconnect")
            for address in connections:         # "Not Connected" when it ended by itself
                self.client.command(mgmt.DISCONNECT, address, index)
        if not peer.idle.wait(LIMIT):
            raise TimeoutError(f"{peer.spec.name} was not told of the disconnection")

    def connect(self, adapter, peer, limit=CONNECT_LIMIT):
        """Connects by identity address, asking for encryption, reads the protected characteristic
        and disconnects: {encrypted, smp_packet_count, protected_value, error, disconnect_reason,
        labels}. A private peer takes a new address before. `error` is why the connection or the
        read failed, disconnect_reason is HCI's. (Not on 6.1 with a peer that lost its key, or has
        another: that kernel has a bug which ends the guest.)"""
        here, remote = self._adapter(adapter), self._peer(peer)
        self._power_on(here.index)
        if remote.spec.privacy:
            self.air.rotate(remote)
        start, mark = self._now()
        value = error = None
        channel = AttChannel()
        try:
            channel.connect((here.address, LE_PUBLIC), (remote.spec.address, remote.identity_type),
                            limit)
            self._await_security(here.index, start, limit)
            value = channel.read(remote.protected_handle)
        except OSError as failure:
            error = str(failure)
        self._await_bond(here.index, start, mark)
        channel.close()
        self._disconnect(here.index, remote)
        trace = self._trace(here.index, start)
        return {"protected_value": value.decode() if value is not None else None, "error": error,
                "labels": [label for record in trace if (label := record.label())],
                **monitor.attempt(trace)}

    def _await_security(self, index, start, limit):
        """Waits until encryption has been switched on, or has come to nothing. (With a stored key
        the kernel gives the channel out after that, but when it pairs anew already before.)"""
        self.monitor.records.wait(
            lambda r: r.index == index and (
                r.event(monitor.ENCRYPTION_CHANGE) or r.event(monitor.DISCONNECTION_COMPLETE)
                or r.smp_code() == monitor.SMP_PAIRING_FAILED), start, limit)

    def _await_bond(self, index, start, mark):
        """When the kernel paired anew to get the encryption, lets it finish with the keys."""
        outcome = monitor.attempt(self._trace(index, start))
        if outcome["encrypted"] and outcome["smp_packet_count"]:
            self._await_event(mgmt.NEW_LTK, index, mark, "New Long Term Key")

    def await_security(self, adapter, peer, mark):
        """Since `mark` another program has asked for encryption: waits until it is there or has come to nothing, and
        disconnects: {encrypted, smp_packet_count, disconnect_reason}."""
        here = self._adapter(adapter)
        self._await_security(here.index, mark, CONNECT_LIMIT)
        self._disconnect(here.index, self._peer(peer))
        return monitor.attempt(self._trace(here.index, mark))

    def disconnect_reason(self, adapter):
        """HCI's reason for the newest disconnection since the plug-in: {reason}, or null."""
        here = self._adapter(adapter)
        trace = self._trace(here.index, here.plugged)
        return {"reason": monitor.attempt(trace)["disconnect_reason"]}

    def unpair(self, adapter, peer):
        """{}"""
        index, remote = self._adapter(adapter).index, self._peer(peer)
        self._power_on(index)                   # the kernel unpairs nothing while powered off
        mark = self.events.mark()
        address = mgmt_address(remote.spec.address, remote.identity_type)
        self.client.ok(mgmt.UNPAIR_DEVICE, address + bytes([UNPAIR_AND_DISCONNECT]), index)
        self._await_event(mgmt.DEVICE_UNPAIRED, index, mark, "Device Unpaired")

    # ---- keys

    def tables(self, adapter):
        """{ltks: [{address, random, value, ..}], irks: [..], link_keys: [{address, value}]}"""
        return debugfs.tables(self._adapter(adapter).index)

    def wait_table(self, adapter, contains=None, equals=None, limit=LIMIT):
        """Waits until the LTK table holds keys of these addresses (`contains`), or of exactly
        these (`equals`): {addresses}."""
        index = self._adapter(adapter).index
        end = time.monotonic() + limit
        while True:
            present = {row["address"] for row in debugfs.long_term_keys(index)}
            if ((contains is None or present >= set(contains))
                    and (equals is None or present == set(equals))):
                return {"addresses": sorted(present)}
            if time.monotonic() > end:
                raise TimeoutError(f"after {limit} s the LTK table of {adapter} holds {sorted(present)}, "
                                   f"wanted contains={contains} equals={equals}")
            time.sleep(POLL)

    def key_octets(self):
        """Every key value that the kernel announced or a peer has: {keys: [hex]}."""
        self.listener.fence()
        keys = {key["value"] for event in self.events.since() if (key := event.key())}
        return {"keys": sorted((keys | self.irks) - {"00" * 16})}

    def block_ltks(self, adapter, values):
        """The kernel is to load none of these LTKs, and any other: {}."""
        records = [bytes([BLOCKED_LTK]) + bytes.fromhex(value) for value in values]
        self.client.ok(mgmt.SET_BLOCKED_KEYS, mgmt.record_list(records), self._adapter(adapter).index)

    def foreign_load_ltks(self, adapter, records):
        """Another manager loads exactly these: {}."""
        octets = [bytes.fromhex(record) for record in records]
        if any(len(record) != LTK_RECORD for record in octets):
            raise ValueError(f"an LTK record has {LTK_RECORD} octets")
        other = Mgmt()                          # a socket, so a cookie, of its own
        try:
            other.ok(mgmt.LOAD_LTKS, mgmt.record_list(octets), self._adapter(adapter).index)
        finally:
            other.close()

    # ---- the monitor channel

    def _trace(self, index, mark):
        """The records about an adapter from `mark` to now."""
        self.monitor.fence(self.client)
        return self.monitor.traffic(index, mark)

    def loads(self, adapter, all=False):
        """The Load commands (or `all` commands) for the adapter since it was plugged in, from
        whatever process: {commands: [{order, time, opcode, cookie, process, status, count}]}."""
        here = self._adapter(adapter)
        self.monitor.fence(self.client)
        return {"commands": [entry for entry in self.monitor.commands(here.index, here.plugged)
                             if all or entry["opcode"] in mgmt.LOADS]}

    def ltk_load_count(self, adapter):
        """{count}"""
        commands = self.loads(adapter)["commands"]
        return {"count": sum(entry["opcode"] == mgmt.LOAD_LTKS for entry in commands)}

    def monitor_mark(self):
        """{mark} for monitor_labels."""
        return {"mark": self._now()[0]}

    def monitor_labels(self, adapter, mark=0):
        """The packets that matter to bonding since `mark`: {labels}."""
        trace = self._trace(self._adapter(adapter).index, mark)
        return {"labels": [label for record in trace if (label := record.label())]}

    # ---- bluetoothd

    def start_bluetoothd(self):
        """Returns when it has loaded its (empty) lists and is at rest: {}. From now on nobody here
        answers confirmations: it does, and without an agent its answer is no."""
        self.listener.confirm = False
        mark, _ = self._now()
        self.bluetoothd.start([adapter.index for adapter in self.adapters.values()], mark)

    def leave_confirmations(self, to_bluetoothd):
        """For a bluetoothd that the caller starts and stops: {}"""
        self.listener.confirm = not to_bluetoothd

    def wait_bluetoothd(self, adapter):
        """Waits until a running bluetoothd has done the same to a newly plugged adapter: {}."""
        here = self._adapter(adapter)
        self.bluetoothd.wait_loaded([here.index], here.plugged)

    def teach_bluetoothd(self, adapter, peers):
        """A bluetoothd that does not run gets the bonds that the kernel last made with the peers of these
        addresses: {}"""
        here = self._adapter(adapter)
        self.listener.fence()
        keys = {address: {} for address in peers}
        for event in self.events.since():
            key = event.key() if event.index == here.index else None
            if key and key["address"] in keys:
                place = (key["key"], key.get("central"), key.get("type") if key["key"] == "csrk" else None)
                keys[key["address"]][place] = key
        missing = [address for address, of_peer in keys.items() if not of_peer]
        if missing:
            raise ValueError(f"the kernel has made no keys with {missing}")
        self.bluetoothd.teach(here.address, {address: list(of_peer.values()) for address, of_peer in keys.items()})

    def wipe_bluetoothd(self):
        """{}"""
        self.bluetoothd.wipe()

    def remove_in_bluetoothd(self, adapter, peer):
        """{}"""
        self.bluetoothd.remove(self._adapter(adapter).index, self._peer(peer).spec.address)

    def property_in_bluetoothd(self, adapter, address, name):
        """What a running bluetoothd says of a device: {value}, null where it has none."""
        return {"value": self.bluetoothd.property(self._adapter(adapter).index, address, name)}

    def pair_in_bluetoothd(self, adapter, peer):
        """The user pairs the peer in the running bluetoothd and disconnects: {}"""
        index = self._adapter(adapter).index
        address, _ = self._pairing_address(index, self._peer(peer))
        self.bluetoothd.pair(index, address)

    def stop_bluetoothd(self):
        """{}"""
        self.bluetoothd.stop()
        self.listener.confirm = True


# What a request may name.
OPERATIONS = (
    "keep", "plug", "unplug", "index", "set_powered", "power_off", "set_privacy", "local_irk", "flood",
    "add_peer", "remove_peer", "reset_peer",
    "pair", "connect", "await_security", "disconnect_reason", "unpair", "tables", "wait_table", "key_octets",
    "foreign_load_ltks", "block_ltks", "loads", "ltk_load_count", "monitor_mark", "monitor_labels",
    "start_bluetoothd", "wait_bluetoothd", "stop_bluetoothd", "teach_bluetoothd", "wipe_bluetoothd",
    "remove_in_bluetoothd", "property_in_bluetoothd", "pair_in_bluetoothd", "leave_confirmations")
