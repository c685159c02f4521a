/* The PC below us: ports, memory-mapped registers and the first serial line. */

#ifndef MACHINE_H
#define MACHINE_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

#define COM1 0x3F8
enum { COM_DATA = 0, COM_INTERRUPTS = 1, COM_FIFO = 2, COM_FORMAT = 3, COM_STATUS = 5 };
#define COM_RECEIVED 0x01
#define COM_MAY_SEND 0x20

static inline void out8(u16 port, u8 value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline u8 in8(u16 port)
{
    u8 value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline u8 read8(u32 address) { return *(volatile u8 *)address; }
static inline u32 read32(u32 address) { return *(volatile u32 *)address; }
static inline void write8(u32 address, u8 value) { *(volatile u8 *)address = value; }
static inline void write32(u32 address, u32 value) { *(volatile u32 *)address = value; }

static inline void serial_open(void)
{
    out8(COM1 + COM_INTERRUPTS, 0);
    out8(COM1 + COM_FORMAT, 3); /* eight bits, no parity, one stop bit */
    out8(COM1 + COM_FIFO, 7);   /* on, both queues emptied */
}

static inline void serial_put(char character)
{
    while (!(in8(COM1 + COM_STATUS) & COM_MAY_SEND))
        ;
    out8(COM1 + COM_DATA, character);
}

static inline char serial_get(void)
{
    while (!(in8(COM1 + COM_STATUS) & COM_RECEIVED))
        ;
    return in8(COM1 + COM_DATA);
}

#endif
