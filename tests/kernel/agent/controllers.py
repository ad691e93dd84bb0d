"""Virtual Bluetooth controllers (bumble's, mended) and their connection to the kernel."""
import asyncio
import logging
import os
import struct
import threading

from bumble import controller as bumble_controller
from bumble import hci, ll
from bumble.core import PhysicalTransport

# LE only, with legacy advertising and scanning: what a plain dongle shows to the kernel. Without
# LL Privacy the kernel resolves private addresses itself, with the IRKs loaded into it.
FEATURES = (hci.LeFeatureMask.LE_ENCRYPTION | hci.LeFeatureMask.EXTENDED_REJECT_INDICATION
            | hci.LeFeatureMask.PERIPHERAL_INITIATED_FEATURE_EXCHANGE | hci.LeFeatureMask.LE_PING)
ACL_LENGTH = 251                                # no fragments in the monitor trace

CONNECTION_TIMEOUT = 0x08
REMOTE_USER_TERMINATED = 0x13
UNKNOWN_CONNECTION = 0x02


class Controller(bumble_controller.Controller):
    """bumble 0.0.236's controller with what it lacks when a kernel is its host: HCI Reset ends
    everything that is under way, and Create Connection Cancel really cancels."""

    def __init__(self, name, air, public_address):
        super().__init__(name, link=air, public_address=public_address)
        self.le_features = FEATURES
        self.acl_data_packet_length = self.le_acl_data_packet_length = ACL_LENGTH

    def drop_links(self, reason):
        """Tells the other ends that the links are gone and stops the radio."""
        for connection in list(self.le_connections.values()):
            try:
                connection.send_ll_control_pdu(ll.TerminateInd(reason))
            except Exception:                   # the other end went first
                logging.exception("while dropping a link")
        self.le_connections.clear()
        self.le_legacy_advertiser.stop()
        self.le_scan_enable = False
        self.pending_le_connection = None

    def on_hci_reset_command(self, command):
        self.drop_links(REMOTE_USER_TERMINATED)
        return super().on_hci_reset_command(command)

    def on_hci_le_create_connection_cancel_command(self, _command):
        pending, self.pending_le_connection = self.pending_le_connection, None
        if pending is None:
            return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.COMMAND_DISALLOWED_ERROR)
        cancelled = hci.HCI_LE_Connection_Complete_Event(
            status=UNKNOWN_CONNECTION, connection_handle=0, role=0,
            peer_address_type=pending.peer_address.address_type,
            peer_address=pending.peer_address, connection_interval=0, peripheral_latency=0,
            supervision_timeout=0, central_clock_accuracy=0)
        # The Command Complete goes first.
        asyncio.get_running_loop().call_soon(self.send_hci_packet, cancelled)
        return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.SUCCESS)


def _deliver_acl(connection, pdu):
    """Replaces bumble's delivery, which gives the sender's random address as the source even when
    the connection was made with its public one, so that the receiver knows no such connection."""
    if connection.transport != PhysicalTransport.LE:
        connection.link.send_acl_data(
            connection.controller, connection.peer_address, connection.transport, pdu)
        return
    for controller in connection.link.controllers:
        for other in controller.le_connections.values():
            if (other.self_address == connection.peer_address
                    and other.peer_address == connection.self_address):
                asyncio.get_running_loop().call_soon(
                    controller.on_link_acl_data, connection.self_address, connection.transport, pdu)
                return


bumble_controller.Connection.on_acl_pdu = _deliver_acl


class Plug:
    """A controller plugged into the kernel through /dev/vhci: one open file is one controller,
    and closing it pulls the controller out. Lives on the event loop."""

    COMMAND_PACKET, VENDOR_PACKET = 0x01, 0xFF

    def __init__(self, loop, controller):
        self.controller = controller
        self.index = None
        self.ready = threading.Event()          # index is known
        self._loop = loop
        self._file = os.open("/dev/vhci", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._open = True
        controller.host = self                  # its packets come to on_packet()
        loop.add_reader(self._file, self._readable)
        os.write(self._file, bytes([self.VENDOR_PACKET, 0]))        # "create a controller"

    def _readable(self):
        while self._open:
            try:
                packet = os.read(self._file, 4096)
            except OSError:
                return
            if not packet:
                return
            if packet[0] == self.VENDOR_PACKET:
                self.index, = struct.unpack_from("<H", packet, 2)
                self.ready.set()
                continue
            try:
                self.controller.on_packet(packet)
            except Exception:
                logging.exception("controller: %s", packet.hex())
                if packet[0] == self.COMMAND_PACKET:
                    # "Unknown command", lest the kernel waits for an answer.
                    os.write(self._file, b"\x04\x0e\x04\x01" + packet[1:3] + b"\x01")

    def on_packet(self, packet):
        if self._open:
            try:
                os.write(self._file, packet)
            except OSError as error:            # the kernel takes nothing while it closes down
                logging.info("vhci: %s", error)

    def close(self):
        self._open = False
        self._loop.remove_reader(self._file)
        os.close(self._file)
