"""The kernel's Bluetooth management (mgmt) interface: commands, events, key records."""
import select
import struct
import threading
import time
from dataclasses import dataclass

from history import History
from wire import (BT_SNDMTU, CHANNEL_CONTROL, NO_INDEX, SOL_BLUETOOTH, address_text, hci_socket)

READ_VERSION = 0x0001
READ_INDEX_LIST = 0x0003
READ_INFO = 0x0004
SET_POWERED = 0x0005
SET_BONDABLE = 0x0009
SET_LE = 0x000D
LOAD_LINK_KEYS = 0x0012
LOAD_LTKS = 0x0013
DISCONNECT = 0x0014
GET_CONNECTIONS = 0x0015
SET_IO_CAPABILITY = 0x0018
PAIR_DEVICE = 0x0019
CANCEL_PAIR = 0x001A
UNPAIR_DEVICE = 0x001B
CONFIRM_REPLY = 0x001C
SET_SECURE_CONNECTIONS = 0x002D
SET_DEBUG_KEYS = 0x002E
SET_PRIVACY = 0x002F
LOAD_IRKS = 0x0030
LOAD_CONN_PARAMS = 0x0035
SET_BLOCKED_KEYS = 0x0046
START_DISCOVERY = 0x0023
STOP_DISCOVERY = 0x0024
LOADS = (LOAD_LINK_KEYS, LOAD_LTKS, LOAD_IRKS, LOAD_CONN_PARAMS)

COMMAND_COMPLETE = 0x0001
COMMAND_STATUS = 0x0002
INDEX_ADDED = 0x0004
INDEX_REMOVED = 0x0005
NEW_LINK_KEY = 0x0009
NEW_LTK = 0x000A
DEVICE_DISCONNECTED = 0x000C
CONFIRM_REQUEST = 0x000F
DEVICE_UNPAIRED = 0x0016
NEW_IRK = 0x0018
NEW_CSRK = 0x0019

# Bits of the settings word.
POWERED, BONDABLE, LE, SECURE_CONNECTIONS, DEBUG_KEYS = (1 << bit for bit in (0, 4, 9, 11, 12))

STATUS = [
    "Success", "Unknown Command", "Not Connected", "Failed", "Connect Failed",
    "Authentication Failed", "Not Paired", "No Resources", "Timeout", "Already Connected", "Busy",
    "Rejected", "Not Supported", "Invalid Parameters", "Disconnected", "Not Powered", "Cancelled",
    "Invalid Index", "RFKilled", "Already Paired", "Permission Denied"]


def status_name(status):
    return STATUS[status] if status < len(STATUS) else f"status 0x{status:02x}"


def record_list(records):
    """The parameters of Load Long Term Keys and Load Identity Resolving Keys."""
    return struct.pack("<H", len(records)) + b"".join(records)


@dataclass
class Event:
    code: int
    index: int
    params: bytes

    @classmethod
    def parse(cls, packet):
        code, index, _ = struct.unpack_from("<HHH", packet)
        return cls(code, index, packet[6:])

    def key(self):
        """What a New LTK, IRK, CSRK or Link Key event says; None for other events. `record` is
        the slice that the matching Load command takes."""
        p = self.params
        if self.code == NEW_LTK:
            return {"key": "ltk", "store_hint": p[0], "address": address_text(p[1:7]),
                    "address_type": p[7], "type": p[8], "central": p[9],
                    "record": p[1:37].hex(), "value": p[21:37].hex()}
        if self.code == NEW_IRK:
            return {"key": "irk", "store_hint": p[0], "rpa": address_text(p[1:7]),
                    "address": address_text(p[7:13]), "address_type": p[13],
                    "record": p[7:30].hex(), "value": p[14:30].hex()}
        if self.code == NEW_CSRK:
            return {"key": "csrk", "store_hint": p[0], "address": address_text(p[1:7]),
                    "address_type": p[7], "type": p[8], "value": p[9:25].hex()}
        if self.code == NEW_LINK_KEY:
            return {"key": "link", "store_hint": p[0], "address": address_text(p[1:7]),
                    "address_type": p[7], "type": p[8],
                    "record": p[1:26].hex(), "value": p[9:25].hex()}
        return None


class CommandFailed(Exception):
    pass


class Mgmt:
    """A socket that sends commands and waits for each one's reply. For one thread."""

    def __init__(self):
        self._sock = hci_socket(CHANNEL_CONTROL)
        # By default one command may carry no more than 28 LTK records.
        self._sock.setsockopt(SOL_BLUETOOTH, BT_SNDMTU, struct.pack("<H", 0xFFFF))

    def close(self):
        self._sock.close()

    def _receive(self, limit):
        ready, _, _ = select.select([self._sock], [], [], max(0.0, limit))
        return Event.parse(self._sock.recv(65536)) if ready else None

    def command(self, opcode, params=b"", index=NO_INDEX, limit=20.0):
        """Sends a command; returns (status, return parameters)."""
        while self._receive(0):                 # events that came in between are of no interest here
            pass
        self._sock.send(struct.pack("<HHH", opcode, index, len(params)) + params)
        end = time.monotonic() + limit
        while time.monotonic() < end:
            event = self._receive(end - time.monotonic())
            if (event and event.code in (COMMAND_COMPLETE, COMMAND_STATUS) and event.index == index
                    and struct.unpack_from("<H", event.params)[0] == opcode):
                return event.params[2], event.params[3:]
        raise CommandFailed(f"no reply to mgmt command 0x{opcode:04x} for index {index} in {limit} s")

    def ok(self, opcode, params=b"", index=NO_INDEX, limit=20.0):
        """As command(), but any status other than Success is an exception."""
        status, result = self.command(opcode, params, index, limit)
        if status:
            raise CommandFailed(
                f"mgmt command 0x{opcode:04x} for index {index}: {status_name(status)}")
        return result

    def settings(self, index):
        """The current settings word."""
        return struct.unpack_from("<I", self.ok(READ_INFO, index=index), 13)[0]

    def connections(self, index):
        """(address octets + type) of every connected device."""
        result = self.ok(GET_CONNECTIONS, index=index)
        count, = struct.unpack_from("<H", result)
        return [result[2 + 7 * n:9 + 7 * n] for n in range(count)]


class Listener(threading.Thread):
    """A second socket that only listens. The kernel does not send the events that a command causes
    to the socket that issued it, so what the agent's own commands do is seen here."""

    def __init__(self):
        super().__init__(daemon=True, name="mgmt listener")
        self.events = History()
        # Answer User Confirmation Requests with yes. Two programs that answer are a conflict.
        self.confirm = True
        self._sock = hci_socket(CHANNEL_CONTROL)
        self.start()

    def fence(self):
        """Returns when every event that the kernel had sent before this call is in the history:
        the reply to a command of this socket's own queues up behind them."""
        mark = self.events.mark()
        self._sock.send(struct.pack("<HHH", READ_VERSION, NO_INDEX, 0))
        if self.events.wait(lambda e: e.code == COMMAND_COMPLETE
                            and struct.unpack_from("<H", e.params)[0] == READ_VERSION, mark) is None:
            raise TimeoutError("the kernel does not answer the listening socket")

    def run(self):
        while True:
            event = Event.parse(self._sock.recv(65536))
            if event.code == CONFIRM_REQUEST and self.confirm:
                reply = event.params[:7]
                self._sock.send(struct.pack("<HHH", CONFIRM_REPLY, event.index, len(reply)) + reply)
            self.events.append(event)
