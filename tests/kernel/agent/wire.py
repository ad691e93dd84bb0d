"""Addresses, constants and raw sockets of the Linux Bluetooth stack."""
import ctypes
import os
import socket
import struct

AF_BLUETOOTH = 31
BTPROTO_L2CAP = 0
BTPROTO_HCI = 1
SOL_BLUETOOTH = 274
BT_SECURITY = 4
BT_SNDMTU = 12
SO_RCVBUFFORCE = 33

CHANNEL_MONITOR = 2
CHANNEL_CONTROL = 3
NO_INDEX = 0xFFFF

# Address types as mgmt has them.
BR_EDR, LE_PUBLIC, LE_RANDOM = 0, 1, 2

libc = ctypes.CDLL(None, use_errno=True)


def address_text(octets):
    """Six octets in wire order as XX:XX:XX:XX:XX:XX."""
    return ":".join(f"{octet:02X}" for octet in reversed(octets))


def address_octets(text):
    return bytes(reversed(bytes.fromhex(text.replace(":", ""))))


def mgmt_address(text, address_type):
    return address_octets(text) + bytes([address_type])


def bind(sock, address):
    """Binds by libc: Python's own bind() can name neither an HCI channel nor an LE address type."""
    if libc.bind(sock.fileno(), address, len(address)):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def connect(sock, address):
    """Starts connecting a non-blocking socket; returns the errno."""
    if libc.connect(sock.fileno(), address, len(address)):
        return ctypes.get_errno()
    return 0


def hci_socket(channel):
    """A raw HCI socket on one of the channels that belong to no controller."""
    sock = socket.socket(AF_BLUETOOTH, socket.SOCK_RAW | socket.SOCK_CLOEXEC, BTPROTO_HCI)
    # The kernel drops what does not fit, without a word.
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
    bind(sock, struct.pack("<HHH", AF_BLUETOOTH, NO_INDEX, channel))
    return sock
