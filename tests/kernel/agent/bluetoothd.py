"""A real bluetoothd beside the service, with a D-Bus daemon of its own."""
import ctypes
import os
import shutil
import signal
import subprocess

import mgmt
from monitor import CONTROL_COMMAND
from wire import LE_PUBLIC, libc

PROGRAMS = ("/usr/libexec/bluetooth/bluetoothd", "/usr/lib/bluetooth/bluetoothd", "/usr/sbin/bluetoothd")
STORAGE = "/var/lib/bluetooth"
LOG = "/vmout/bluetoothd.log"
PROCESS = "bluetoothd"
START_LIMIT = 30.0
QUIET = 1.0
PAIR_LIMIT = 120.0
# Debian's, which has the dbus module; the agent's own need not.
SYSTEM_PYTHON = "/usr/bin/python3"
USER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "user.py")
PR_SET_PDEATHSIG = 1


def _die_with_parent():
    # dbus-daemon loses this when it changes its user. One left behind does no harm: the next takes
    # over its socket.
    libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))


class Bluetoothd:
    def __init__(self, monitor):
        self._monitor = monitor
        self._bus = None
        self._process = None
        self._kept = False                      # its storage is of another life

    @property
    def running(self):
        return self._process is not None

    def start(self, indexes, mark):
        """Starts it and waits until it has loaded its keys into each of these adapters and has
        nothing more to say. `mark` is the monitor's position now. Its storage lives as long as
        the agent, unless it is kept."""
        if self.running:
            raise RuntimeError("bluetoothd is running already")
        program = next((path for path in PROGRAMS if os.path.exists(path)), None)
        if program is None:
            raise RuntimeError("bluetoothd is not installed")
        self._prepare()
        with open(LOG, "a") as log:
            self._process = subprocess.Popen(
                [program, "-n"], stdout=log, stderr=log, preexec_fn=_die_with_parent)
        self.wait_loaded(indexes, mark)

    def _prepare(self):
        # Its storage is emptied, so never on a machine that somebody uses.
        if os.environ.get("BONDKEEPER_GUEST") != "1":
            raise RuntimeError("bluetoothd is only started in the test guest")
        if self._bus is None:
            if not self._kept:
                shutil.rmtree(STORAGE, ignore_errors=True)
                os.makedirs(STORAGE, mode=0o700)
            self._start_bus()

    def keep(self, folder):
        """Its storage is this folder, with what is in it. Before its first start."""
        if os.environ.get("BONDKEEPER_GUEST") != "1" or self._bus is not None:
            raise RuntimeError("its storage can be replaced only in the test guest, before its first start")
        for place in (folder, STORAGE):
            os.makedirs(place, mode=0o700, exist_ok=True)
        subprocess.run(["mount", "--bind", folder, STORAGE], check=True)
        self._kept = True

    def _start_bus(self):
        os.makedirs("/run/dbus", exist_ok=True)
        subprocess.run(["dbus-uuidgen", "--ensure=/etc/machine-id"], check=True)
        with open(LOG, "a") as log:
            self._bus = subprocess.Popen(
                ["dbus-daemon", "--system", "--nofork", "--nopidfile", "--print-address"],
                stdout=subprocess.PIPE, stderr=log, preexec_fn=_die_with_parent)
        if not self._bus.stdout.readline():     # it prints its address when it listens
            raise RuntimeError("dbus-daemon did not start")

    def _sent(self, record):
        return record.kind == CONTROL_COMMAND and record.process == PROCESS

    def wait_loaded(self, indexes, mark):
        """Waits until it has sent each adapter its last start-up load since `mark`, then until it
        has been quiet."""
        records = self._monitor.records
        for index in indexes:
            if records.wait(lambda r: r.index == index and self._sent(r)
                            and r.command()[1] == mgmt.LOAD_CONN_PARAMS, mark, START_LIMIT) is None:
                raise TimeoutError(f"bluetoothd loaded nothing into adapter {index}")
        if records.wait(self._sent, mark, START_LIMIT) is None:
            raise TimeoutError("bluetoothd sent no mgmt command")
        if not records.wait_quiet(self._sent, QUIET, START_LIMIT):
            raise TimeoutError("bluetoothd does not come to rest")

    def teach(self, adapter, keys):
        """Puts bonds on its disk, from what the kernel's key events said. Its own file format: key octets in
        mgmt order, EDIV and Rand in decimal."""
        self._must_rest()
        for address, of_peer in keys.items():
            sections = []
            for key in of_peer:
                if key["key"] == "irk":
                    sections.append(("IdentityResolvingKey", {"Key": key["value"].upper()}))
                elif key["key"] == "ltk":
                    record = bytes.fromhex(key["record"])
                    fields = {"Key": key["value"].upper(), "Authenticated": record[7], "EncSize": record[9],
                              "EDiv": int.from_bytes(record[10:12], "little"),
                              "Rand": int.from_bytes(record[12:20], "little")}
                    central = ["LongTermKey"]
                    peripheral = ["PeripheralLongTermKey", "SlaveLongTermKey"]
                    sections += [(name, fields) for name in (central if record[8] else peripheral)]
            kind = "public" if of_peer[0]["address_type"] == LE_PUBLIC else "static"
            general = {"Name": "taught", "AddressType": kind, "SupportedTechnologies": "LE;",
                       "Trusted": "true", "Blocked": "false"}
            folder = os.path.join(STORAGE, adapter, address)
            os.makedirs(folder, mode=0o700, exist_ok=True)
            with open(os.path.join(folder, "info"), "w") as file:
                for name, fields in [("General", general), *sections]:
                    lines = "".join(f"{field}={value}\n" for field, value in fields.items())
                    file.write(f"[{name}]\n{lines}\n")

    def wipe(self):
        """Its disk is lost."""
        self._must_rest()
        for entry in os.listdir(STORAGE):
            shutil.rmtree(os.path.join(STORAGE, entry))

    def property(self, index, address, name):
        """What it says of a device, as text; None where it has no such device."""
        answer = subprocess.run(
            ["dbus-send", "--system", "--print-reply=literal", "--dest=org.bluez", self._device(index, address),
             "org.freedesktop.DBus.Properties.Get", "string:org.bluez.Device1", f"string:{name}"],
            timeout=START_LIMIT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        if answer.returncode != 0:
            return None
        # "   variant       boolean true", and a text as it is.
        return answer.stdout.removesuffix("\n").removeprefix("   variant       ")

    def pair(self, index, address):
        """The user pairs a device that advertises, and disconnects."""
        user = subprocess.run([SYSTEM_PYTHON, USER, str(index), address], timeout=PAIR_LIMIT,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8")
        if user.returncode != 0:
            raise RuntimeError(f"bluetoothd did not pair {address}: {user.stdout}")

    @staticmethod
    def _device(index, address):
        return f"/org/bluez/hci{index}/dev_{address.replace(':', '_')}"

    def remove(self, index, address):
        """The user removes a device."""
        path = f"/org/bluez/hci{index}"
        device = self._device(index, address)
        subprocess.run(["dbus-send", "--system", "--print-reply", "--dest=org.bluez", path,
                        "org.bluez.Adapter1.RemoveDevice", f"objpath:{device}"],
                       check=True, timeout=START_LIMIT, stdout=subprocess.DEVNULL)

    def _must_rest(self):
        if self.running:
            raise RuntimeError("bluetoothd is running")
        self._prepare()

    def stop(self):
        if not self.running:
            raise RuntimeError("bluetoothd is not running")
        process, self._process = self._process, None
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self):
        if self.running:
            self.stop()
        if self._bus is not None:
            self._bus.kill()
            self._bus.wait()
        if self._kept:
            subprocess.run(["umount", STORAGE], check=True)
