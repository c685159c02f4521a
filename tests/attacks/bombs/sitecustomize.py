"""On the path of a zygote, this gives its workers a TPM command that takes all memory it can get.

The octet behind the header says how: "s" many small pieces, "l" one large piece, "t" small pieces
on the side thread, where long commands run, "n" a number that a library in C makes.
"""

import sys

if "vtpmd.worker.zygote" in sys.orig_argv:
    import gmpy2

    from vtpmd.tpm.engine import Engine, Reply

    BOMB = bytes.fromhex("20000000")
    _execute, _is_long = Engine.execute, Engine.is_long

    def _explode(kind: bytes) -> None:
        hoard: list[object] = []
        match kind:
            case b"l":
                hoard.append(bytearray(1 << 40))
            case b"n":
                hoard.append(gmpy2.mpz(1) << (1 << 40))
        while True:
            hoard.append(bytearray(4096))

    def _execute_or_explode(self: Engine, command: bytes, locality: int) -> Reply:
        if command[6:10] == BOMB:
            _explode(command[10:11])
        return _execute(self, command, locality)

    def _is_long_or_bomb(command: bytes) -> bool:
        return command[6:11] == BOMB + b"t" or _is_long(command)

    Engine.execute = _execute_or_explode  # type: ignore[method-assign]
    Engine.is_long = staticmethod(_is_long_or_bomb)
