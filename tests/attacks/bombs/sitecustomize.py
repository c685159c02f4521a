"""On the path of a zygote, this gives its workers a TPM command that takes all memory it can get.

The octet behind the header says how: "s" many small pieces, "l" one large piece, "n" a number that
a library in C makes. There is another command code for the side thread, where long commands run.
"""

import sys

if "vtpmd.worker.zygote" in sys.orig_argv:
    import gmpy2

    from vtpmd.tpm.engine import LONG_COMMANDS, Engine, Reply

    BOMB, LONG_BOMB = bytes.fromhex("20000000"), bytes.fromhex("20000001")
    _answer = Engine.answer

    def _explode(kind: bytes) -> None:
        hoard: list[object] = []
        match kind:
            case b"l":
                hoard.append(bytearray(1 << 40))
            case b"n":
                hoard.append(gmpy2.mpz(1) << (1 << 40))
        while True:
            hoard.append(bytearray(4096))

    def _answer_or_explode(self: Engine, command: bytes, locality: int) -> bytes | Reply:
        if command[6:10] in (BOMB, LONG_BOMB):
            _explode(command[10:11])
        return _answer(self, command, locality)

    Engine.answer = _answer_or_explode  # type: ignore[method-assign]
    LONG_COMMANDS.add(int.from_bytes(LONG_BOMB))
