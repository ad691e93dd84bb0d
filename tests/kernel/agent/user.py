"""What a user of bluetoothd does, over D-Bus: pairs a device that advertises and disconnects.

    /usr/bin/python3 user.py INDEX ADDRESS

A program of its own: discovery lasts as long as the connection that began it, and Debian's dbus module is
in the interpreter of the system only."""
import sys
import time

import dbus

LIMIT = 30.0


def main(index, address):
    bus = dbus.SystemBus()
    path = f"/org/bluez/hci{index}"
    device = f"{path}/dev_{address.replace(':', '_')}"

    def call(at, interface, method, *arguments):
        of = bus.get_object("org.bluez", at, introspect=False)
        return dbus.Interface(of, interface).get_dbus_method(method)(*arguments, timeout=LIMIT)

    def has(interface, at, name):
        try:
            return bool(call(at, "org.freedesktop.DBus.Properties", "Get", interface, name))
        except dbus.DBusException:
            return False

    def until(what, holds):
        end = time.monotonic() + LIMIT
        while not holds():
            if time.monotonic() > end:
                sys.exit(f"{address}: not {what} in {LIMIT} s")
            time.sleep(0.05)

    # Never called back: bluetoothd agrees by itself to a pairing that its own user asked for, but not without an agent.
    call("/org/bluez", "org.bluez.AgentManager1", "RegisterAgent", dbus.ObjectPath("/agent"), "NoInputNoOutput")
    call("/org/bluez", "org.bluez.AgentManager1", "RequestDefaultAgent", dbus.ObjectPath("/agent"))
    call(path, "org.freedesktop.DBus.Properties", "Set", "org.bluez.Adapter1", "Powered",
         dbus.Boolean(True, variant_level=1))
    # Without a filter it shows only devices that say that they are discoverable.
    call(path, "org.bluez.Adapter1", "SetDiscoveryFilter",
         dbus.Dictionary({"Transport": dbus.String("le", variant_level=1)}, signature="sv"))
    call(path, "org.bluez.Adapter1", "StartDiscovery")
    until("seen", lambda: has("org.bluez.Device1", device, "Address"))
    call(device, "org.bluez.Device1", "Pair")
    call(device, "org.bluez.Device1", "Disconnect")
    until("disconnected", lambda: not has("org.bluez.Device1", device, "Connected"))
    call(path, "org.bluez.Adapter1", "StopDiscovery")


main(*sys.argv[1:])
