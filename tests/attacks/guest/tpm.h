/* The two interfaces of TCG's PC Client Platform TPM Profile, at the same address. */

#ifndef TPM_H
#define TPM_H

#include "machine.h"

#define TPM_BASE 0xFED40000u
#define TPM_LARGEST 4096u
#define TPM_TOO_LONG (TPM_LARGEST + 1)
#define TPM_HEADER 10u

/* TPM_INTERFACE_ID: the type is in its lowest four bits. */
#define TPM_INTERFACE_ID (TPM_BASE + 0x30)
#define TPM_INTERFACE_TYPE 0xF
#define TPM_INTERFACE_CRB 1

enum outcome {
    ANSWERED,
    NO_LOCALITY, /* the locality was not granted */
    NOT_READY,   /* the interface takes no command */
    EXPECTING,   /* FIFO only: the device waits for more octets than we have */
};

/*
 * Give the device `size` octets as a command, at `locality`, and wait for its answer as long as it
 * takes. `answer` has room for TPM_LARGEST octets, of which `*length` are filled. No octet of
 * either is looked into, except for the size field that says how much of an answer there is.
 */
enum outcome crb_submit(u32 locality, const u8 *command, u32 size, u8 *answer, u32 *length);
enum outcome fifo_submit(u32 locality, const u8 *command, u32 size, u8 *answer, u32 *length);

#endif
