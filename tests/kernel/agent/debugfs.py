"""The kernel's key tables, read from debugfs behind everybody's back.

debugfs has columns of its own: the address type is 0 public / 1 random (mgmt: 1 / 2), the key
type is 1 legacy central, 2 legacy peripheral, 3 P-256, 4 P-256 debug (mgmt: 0..4 and a role).
Key octets are printed in memory order, which is the order of mgmt."""

FILE = "/sys/kernel/debug/bluetooth/hci{}/{}"


def _rows(index, name):
    try:
        with open(FILE.format(index, name)) as file:
            return [line.split() for line in file]
    except FileNotFoundError:                   # link_keys is not there on an LE-only controller
        return []


def long_term_keys(index):
    # ADDRESS (type T) AUTHENTICATED 0xKIND SIZE EDIV RAND VALUE
    return [{"address": row[0].upper(), "random": row[2] == "1)", "authenticated": row[3] == "1",
             "kind": int(row[4], 16), "value": row[8]} for row in _rows(index, "long_term_keys")]


def identity_resolving_keys(index):
    # ADDRESS (type T) VALUE RPA
    return [{"address": row[0].upper(), "random": row[2] == "1)", "value": row[3],
             "rpa": row[4].upper()} for row in _rows(index, "identity_resolving_keys")]


def link_keys(index):
    # ADDRESS TYPE VALUE PIN_LENGTH
    return [{"address": row[0].upper(), "value": row[2]} for row in _rows(index, "link_keys")]


def local_irk(index):
    # ADDRESS (type T) VALUE RPA
    value = _rows(index, "identity")[0][3]
    return None if value == "00" * 16 else value


def tables(index):
    return {"ltks": long_term_keys(index), "irks": identity_resolving_keys(index),
            "link_keys": link_keys(index)}
