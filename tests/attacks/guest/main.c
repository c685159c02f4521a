/*
 * Obeys orders from the serial line, one line each:
 *
 *     LOCALITY OCTETS\n        one decimal digit, a space, octets in hexadecimal
 *
 * submits these octets and is answered with one line: "answer OCTETS", or why there is none. The
 * first line after the start is "up crb" or "up tis". What is not understood is answered with "?".
 */

#include "tpm.h"

static u8 command[TPM_TOO_LONG];
static u8 answer[TPM_LARGEST];

static const char *const reasons[] = {
    [NO_LOCALITY] = "no locality",
    [NOT_READY] = "not ready",
    [EXPECTING] = "expecting",
};

static void say(const char *text)
{
    while (*text)
        serial_put(*text++);
}

static void say_octet(u8 octet)
{
    static const char digits[] = "0123456789abcdef";
    serial_put(digits[octet >> 4]);
    serial_put(digits[octet & 15]);
}

static int digit(char character)
{
    if (character >= '0' && character <= '9')
        return character - '0';
    if (character >= 'a' && character <= 'f')
        return character - 'a' + 10;
    return -1;
}

/* Read the octets up to the end of the line; how many, or -1 when they are none or too many. */
static int hear_octets(void)
{
    u32 size = 0;

    for (;;) {
        char character = serial_get();
        int high, low;
        if (character == '\n')
            return size;
        high = digit(character);
        low = digit(serial_get());
        if (high < 0 || low < 0 || size == TPM_TOO_LONG)
            return -1;
        command[size++] = high << 4 | low;
    }
}

void obey(void)
{
    int is_crb = (read32(TPM_INTERFACE_ID) & TPM_INTERFACE_TYPE) == TPM_INTERFACE_CRB;

    serial_open();
    say(is_crb ? "\nup crb\n" : "\nup tis\n");
    for (;;) {
        int locality = digit(serial_get());
        u32 length, i;
        int size;
        enum outcome outcome;

        if (locality < 0 || locality > 4 || serial_get() != ' ' || (size = hear_octets()) < 0) {
            say("?\n");
            continue;
        }
        outcome = (is_crb ? crb_submit : fifo_submit)(locality, command, size, answer, &length);
        if (outcome != ANSWERED) {
            say(reasons[outcome]);
        } else {
            say("answer ");
            for (i = 0; i < length; i++)
                say_octet(answer[i]);
        }
        serial_put('\n');
    }
}
