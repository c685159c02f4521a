/* FIFO (TIS): commands and answers go through one register, as many octets as the burst count. */

#include "tpm.h"

#define ACCESS 0x00
#define STS 0x18
#define DATA_FIFO 0x24

#define ACCESS_REQUEST_USE 0x02
#define ACCESS_ACTIVE 0x20

#define STS_EXPECT 0x08
#define STS_DATA_AVAILABLE 0x10
#define STS_GO 0x20
#define STS_COMMAND_READY 0x40
#define STS_BURST(status) ((status) >> 8 & 0xFFFF)

static u32 give(u32 base, const u8 *command, u32 size)
{
    u32 given = 0;

    /*
     * EXPECT means something once six octets are there. A driver that behaves heeds the burst count
     * and gives up when it is 0; the device holds no more then, and takes any octet for the end.
     */
    while (given < size && (given < 6 || read32(base + STS) & STS_EXPECT))
        write8(base + DATA_FIFO, command[given++]);
    return given;
}

static u32 take(u32 base, u8 *answer)
{
    u32 taken = 0;

    while (taken < TPM_LARGEST && read32(base + STS) & STS_DATA_AVAILABLE) {
        u32 burst = STS_BURST(read32(base + STS));
        while (burst-- && taken < TPM_LARGEST)
            answer[taken++] = read8(base + DATA_FIFO);
    }
    return taken;
}

enum outcome fifo_submit(u32 locality, const u8 *command, u32 size, u8 *answer, u32 *length)
{
    u32 base = TPM_BASE + (locality << 12);
    enum outcome outcome = ANSWERED;

    *length = 0;
    write8(base + ACCESS, ACCESS_REQUEST_USE);
    if (!(read8(base + ACCESS) & ACCESS_ACTIVE))
        return NO_LOCALITY;
    write32(base + STS, STS_COMMAND_READY);
    if (!(read32(base + STS) & STS_COMMAND_READY))
        outcome = NOT_READY;
    else {
        give(base, command, size);
        if (read32(base + STS) & STS_EXPECT)
            outcome = EXPECTING;
        else {
            write32(base + STS, STS_GO);
            while (!(read32(base + STS) & STS_DATA_AVAILABLE))
                ;
            *length = take(base, answer);
        }
    }
    write32(base + STS, STS_COMMAND_READY); /* forget what is there */
    write8(base + ACCESS, ACCESS_ACTIVE);   /* relinquish */
    return outcome;
}
