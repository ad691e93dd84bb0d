"""The HCI monitor channel: every packet between the kernel and its controllers, and every
management command of every process."""
import struct
import threading
import time
from dataclasses import dataclass

import mgmt
from history import History
from wire import CHANNEL_MONITOR, address_text, hci_socket

# Record kinds.
HCI_COMMAND, HCI_EVENT, ACL_SENT, ACL_RECEIVED = 2, 3, 4, 5
CONTROL_OPEN, CONTROL_COMMAND, CONTROL_EVENT = 14, 16, 17
KEPT = (HCI_COMMAND, HCI_EVENT, ACL_SENT, ACL_RECEIVED,
        CONTROL_OPEN, CONTROL_COMMAND, CONTROL_EVENT)

# HCI events.
DISCONNECTION_COMPLETE, ENCRYPTION_CHANGE, ENCRYPTION_KEY_REFRESH, LE_META = 0x05, 0x08, 0x30, 0x3E
LE_CONNECTION_COMPLETE = (0x01, 0x0A, 0x29)
LE_ADVERTISING_REPORT = (0x02, 0x0D)

COMMANDS = {
    0x0406: "Disconnect", 0x200D: "LE Create Connection", 0x200E: "LE Create Connection Cancel",
    0x2019: "LE Start Encryption", 0x201A: "LE LTK Request Reply",
    0x201B: "LE LTK Request Negative Reply", 0x2043: "LE Extended Create Connection"}
SMP = {
    1: "Pairing Request", 2: "Pairing Response", 3: "Confirm", 4: "Random", 5: "Pairing Failed",
    6: "Encryption Information", 7: "Central Identification", 8: "Identity Information",
    9: "Identity Address", 10: "Signing Information", 11: "Security Request", 12: "Public Key",
    13: "DHKey Check"}
SMP_CHANNELS = (6, 7)
SMP_PAIRING_FAILED = 5


@dataclass
class Record:
    order: int
    time: float
    kind: int
    index: int
    data: bytes
    process: str = None                         # for control commands

    def smp_code(self):
        """The SMP code of an ACL packet that starts an SMP message."""
        if self.kind not in (ACL_SENT, ACL_RECEIVED) or len(self.data) < 9:
            return None
        flags, _, _, channel, code = struct.unpack_from("<HHHHB", self.data)
        continued = flags >> 12 & 3 == 1
        return code if channel in SMP_CHANNELS and not continued else None

    def event(self, code):
        return self.kind == HCI_EVENT and self.data[0] == code

    def label(self):
        """A name for the packets that matter to bonding; None for the others."""
        d = self.data
        if self.kind == HCI_COMMAND:
            return COMMANDS.get(struct.unpack_from("<H", d)[0])
        if self.event(DISCONNECTION_COMPLETE):
            return f"Disconnection Complete reason=0x{d[5]:02x}"
        if self.event(ENCRYPTION_CHANGE):
            return f"Encryption Change status=0x{d[2]:02x} on={d[5]}"
        if self.event(ENCRYPTION_KEY_REFRESH):
            return f"Encryption Key Refresh status=0x{d[2]:02x}"
        if self.event(LE_META) and d[2] in LE_CONNECTION_COMPLETE:
            return f"LE Connection Complete status=0x{d[3]:02x} peer={address_text(d[8:14])}"
        code = self.smp_code()
        return None if code is None else "SMP " + SMP.get(code, hex(code))

    def command(self):
        """(cookie of the socket, mgmt opcode, parameters) of a control command."""
        cookie, opcode = struct.unpack_from("<IH", self.data)
        return cookie, opcode, self.data[6:]

    def completion(self):
        """(cookie, mgmt opcode, status) of a control event that ends a command, else None."""
        cookie, code = struct.unpack_from("<IH", self.data)
        if self.kind != CONTROL_EVENT or code not in (mgmt.COMMAND_COMPLETE, mgmt.COMMAND_STATUS):
            return None
        return (cookie, *struct.unpack_from("<HB", self.data, 6))


class Monitor(threading.Thread):
    def __init__(self):
        super().__init__(daemon=True, name="monitor")
        self.records = History()
        self._fences = 0
        self.advertisements = 0                 # reports seen, and not kept
        self._sock = hci_socket(CHANNEL_MONITOR)
        self.start()

    def run(self):
        order = 0
        processes = {}                          # by cookie; the kernel uses cookies again
        while True:
            packet = self._sock.recv(65536)
            now = time.monotonic()
            kind, index, _ = struct.unpack_from("<HHH", packet)
            data = packet[6:]
            if kind not in KEPT or (kind == HCI_EVENT and data[0] == LE_META
                                    and data[2] in LE_ADVERTISING_REPORT):
                self.advertisements += kind == HCI_EVENT
                continue
            if kind == CONTROL_OPEN:            # cookie, format, version, flags, name length, name
                name = data[14:14 + data[13]].split(b"\0")[0].decode(errors="replace")
                processes[struct.unpack_from("<I", data)[0]] = name
            order += 1
            record = Record(order, now, kind, index, data)
            if kind == CONTROL_COMMAND:
                record.process = processes.get(record.command()[0])
            self.records.append(record)

    def fence(self, client):
        """Returns when everything that the kernel had shown before this call is in the records:
        sends a command that cannot be mistaken for another (the kernel refuses its parameters,
        having shown it here) and waits until it appears."""
        self._fences += 1
        token = b"fence" + struct.pack("<I", self._fences)
        mark = self.records.mark()
        client.command(mgmt.READ_VERSION, token)
        seen = self.records.wait(
            lambda r: r.kind == CONTROL_COMMAND and r.command()[2] == token, mark)
        if seen is None:
            raise TimeoutError("the monitor channel shows nothing")

    def commands(self, index, mark=0):
        """The control commands for an adapter since `mark`, as plain values, oldest first. `time`
        is the agent's CLOCK_MONOTONIC when it read the record."""
        found = []
        for record in self.records.since(mark):
            if record.index != index:
                continue
            if record.kind == CONTROL_COMMAND:
                cookie, opcode, params = record.command()
                entry = {"order": record.order, "time": record.time, "opcode": opcode,
                         "cookie": cookie, "process": record.process, "status": None}
                if opcode in (mgmt.LOAD_LTKS, mgmt.LOAD_IRKS, mgmt.LOAD_CONN_PARAMS):
                    entry["count"] = struct.unpack_from("<H", params)[0] if len(params) > 1 else None
                found.append(entry)
            elif record.kind == CONTROL_EVENT and (done := record.completion()):
                for entry in found:
                    if (entry["cookie"], entry["opcode"]) == done[:2] and entry["status"] is None:
                        entry["status"] = done[2]
                        break
        return found

    def traffic(self, index, mark=0):
        return [record for record in self.records.since(mark) if record.index == index]


def attempt(records):
    """What the records of one connection attempt come to."""
    smp = [record for record in records if record.smp_code() is not None]
    changes = [record.data for record in records if record.event(ENCRYPTION_CHANGE)]
    ends = [record.data for record in records if record.event(DISCONNECTION_COMPLETE)]
    return {
        "encrypted": bool(changes) and changes[-1][2] == 0 and changes[-1][5] != 0,
        "smp_packet_count": len(smp),
        "disconnect_reason": ends[-1][5] if ends else None}
