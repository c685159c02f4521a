"""What a token's owner does to it, with python-pkcs11 alone, in a process of its own.

Run as a program: module, token's label, PIN and an action as JSON; the answer is JSON.
"""

import json
import sys
from typing import Any

import pkcs11
from pkcs11 import Attribute, KeyType, ObjectClass, SecretKey

SHOWN = (
    "LABEL", "ID", "TOKEN", "PRIVATE", "SENSITIVE", "EXTRACTABLE", "NEVER_EXTRACTABLE",
    "ENCRYPT", "DECRYPT", "WRAP", "UNWRAP", "VALUE_LEN",
)  # fmt: skip
USUAL = {
    "TOKEN": True, "PRIVATE": True, "SENSITIVE": True, "EXTRACTABLE": False, "ENCRYPT": True,
    "DECRYPT": True, "WRAP": True, "UNWRAP": True,
}  # fmt: skip


def main(module: str, token: str, pin: str, action: str, label: str, *rest: str) -> Any:
    """`list`, `import` (key, attributes), `set` (attributes), `destroy`.

    `pin`: set the user's PIN anew; then `pin` is the officer's, and `label` the new one.
    """
    opened = pkcs11.lib(module).get_token(token_label=token)
    if action == "pin":
        with opened.open(rw=True, so_pin=pin) as session:
            session.init_pin(label)
        return None
    with opened.open(rw=True, user_pin=pin) as session:
        if action == "import":
            value, attributes = rest
            session.create_object(
                {
                    Attribute.CLASS: ObjectClass.SECRET_KEY,
                    Attribute.KEY_TYPE: KeyType.AES,
                    Attribute.LABEL: label,
                    Attribute.VALUE: bytes.fromhex(value),
                    **_attributes(USUAL | json.loads(attributes)),
                }
            )
        keys = [
            key
            for key in session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY})
            if isinstance(key, SecretKey) and key[Attribute.LABEL].startswith(label)
        ]
        for key in keys:
            if action == "set":
                for attribute, wanted in _attributes(json.loads(rest[0])).items():
                    key[attribute] = wanted
            elif action == "destroy":
                key.destroy()
        if action != "list":
            return len(keys)
        return sorted((_shown(key) for key in keys), key=lambda shown: str(shown["LABEL"]))


def _attributes(plain: dict[str, Any]) -> dict[Attribute, Any]:
    return {
        Attribute[name]: bytes.fromhex(value) if name == "ID" else value
        for name, value in plain.items()
    }


def _shown(key: SecretKey) -> dict[str, Any]:
    values = {name: key[Attribute[name]] for name in SHOWN}
    return {name: v.hex() if isinstance(v, bytes) else v for name, v in values.items()}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
