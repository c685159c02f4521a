/* Command Response Buffer: a command is written into a buffer, and its answer appears there. */

#include "tpm.h"

#define LOC_CTRL (TPM_BASE + 0x08)
#define LOC_STS (TPM_BASE + 0x0C)
#define CTRL_REQ (TPM_BASE + 0x40)
#define CTRL_START (TPM_BASE + 0x4C)
#define CTRL_CMD_SIZE (TPM_BASE + 0x58)
#define DATA (TPM_BASE + 0x80)

#define REQUEST_ACCESS 1
#define GRANTED 1
#define COMMAND_READY 1
#define START 1

static u32 announced(void)
{
    return (u32)read8(DATA + 2) << 24 | read8(DATA + 3) << 16 | read8(DATA + 4) << 8
           | read8(DATA + 5);
}

enum outcome crb_submit(u32 locality, const u8 *command, u32 size, u8 *answer, u32 *length)
{
    u32 room = read32(CTRL_CMD_SIZE);
    u32 i;

    *length = 0;
    if (locality != 0) /* QEMU has no other */
        return NO_LOCALITY;
    write32(LOC_CTRL, REQUEST_ACCESS);
    if (!(read32(LOC_STS) & GRANTED))
        return NO_LOCALITY;
    write32(CTRL_REQ, COMMAND_READY);
    if (read32(CTRL_START) & START)
        return NOT_READY;
    for (i = 0; i < size && i < room; i++)
        write8(DATA + i, command[i]);
    for (; i < room; i++) /* nothing of the last answer may look like one to this command */
        write8(DATA + i, 0);
    write32(CTRL_START, START);
    while (read32(CTRL_START) & START)
        ;
    size = announced();
    if (size < TPM_HEADER || size > room)
        size = TPM_HEADER;
    for (i = 0; i < size; i++)
        answer[i] = read8(DATA + i);
    *length = size;
    return ANSWERED;
}
