/* A PKCS#11 module that does what another one does, and on request something worse.

   FAULTY_MODULE is the other one. Every call of a function below is a line in FAULTY_CALLS.
   FAULTY_ORDERS has lines "function order [number]", read at every call:

   return N   return N            corrupt    flip a bit of the result
   after N    do it, return N     hide N     there is no mechanism N
   once N     return N this once  flags N    the token has these flags too
   crash      use a null pointer  write HEX  write these octets to all sockets, then do it
   hang       never return
*/

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef unsigned long ulong_t;
typedef ulong_t (*function_t)();

enum {
    INITIALIZE = 0, GET_TOKEN_INFO = 6, GET_MECHANISM_INFO = 8, LOGIN = 18, FIND_OBJECTS_INIT = 26,
    ENCRYPT_INIT = 29, ENCRYPT = 30, DECRYPT_INIT = 33, DECRYPT = 34, GENERATE_KEY = 58,
    FUNCTIONS = 68,
    MECHANISM_INVALID = 0x70, TOKEN_FLAGS_AT = 96
};

static struct { unsigned char version[2]; function_t function[FUNCTIONS]; } ours, *theirs;

struct order { char what[16]; char value[256]; ulong_t number; };

static void write_to_sockets(const char *hex)
{
    unsigned char octets[128];
    size_t size = 0;
    for (; hex[0] && hex[1] && size < sizeof octets; hex += 2) {
        unsigned value;
        sscanf(hex, "%2x", &value);
        octets[size++] = (unsigned char)value;
    }
    for (int fd = 0; fd < 64; fd++) {
        struct stat status;
        if (fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode) && write(fd, octets, size) < 0)
            abort();
    }
}

static struct order ordered(const char *function)
{
    struct order order = {"", "", 0};
    char line[400], name[64];
    int calls = open(getenv("FAULTY_CALLS"), O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (calls < 0 || dprintf(calls, "%s\n", function) < 0)
        abort();
    close(calls);
    FILE *orders = fopen(getenv("FAULTY_ORDERS"), "r");
    if (!orders)
        return order;
    while (fgets(line, sizeof line, orders)) {
        struct order found = {"", "", 0};
        if (sscanf(line, "%63s %15s %255s", name, found.what, found.value) >= 2
            && !strcmp(name, function)) {
            order = found;
            order.number = strtoul(order.value, NULL, 16);
        }
    }
    fclose(orders);
    if (!strcmp(order.what, "crash"))
        *(volatile int *)0 = 0;
    while (!strcmp(order.what, "hang"))
        pause();
    if (!strcmp(order.what, "write"))
        write_to_sockets(order.value);
    if (!strcmp(order.what, "once")) {
        unlink(getenv("FAULTY_ORDERS"));
        strcpy(order.what, "return");
    }
    return order;
}

static ulong_t plain(int index, const char *name, void *a, void *b, void *c, void *d, void *e)
{
    struct order order = ordered(name);
    if (!strcmp(order.what, "return"))
        return order.number;
    ulong_t result = theirs->function[index](a, b, c, d, e);
    return strcmp(order.what, "after") ? result : order.number;
}

#define PLAIN(index, name) \
    static ulong_t name(void *a, void *b, void *c, void *d, void *e) \
    { return plain(index, #name, a, b, c, d, e); }

PLAIN(INITIALIZE, C_Initialize)
PLAIN(LOGIN, C_Login)
PLAIN(FIND_OBJECTS_INIT, C_FindObjectsInit)
PLAIN(ENCRYPT_INIT, C_EncryptInit)
PLAIN(DECRYPT_INIT, C_DecryptInit)
PLAIN(GENERATE_KEY, C_GenerateKey)

static ulong_t C_GetTokenInfo(void *slot, unsigned char *info)
{
    struct order order = ordered("C_GetTokenInfo");
    ulong_t result = theirs->function[GET_TOKEN_INFO](slot, info);
    if (!result && !strcmp(order.what, "flags"))
        *(ulong_t *)(info + TOKEN_FLAGS_AT) |= order.number;
    return strcmp(order.what, "return") ? result : order.number;
}

static ulong_t C_GetMechanismInfo(void *slot, ulong_t mechanism, void *info)
{
    struct order order = ordered("C_GetMechanismInfo");
    if (!strcmp(order.what, "hide") && mechanism == order.number)
        return MECHANISM_INVALID;
    return theirs->function[GET_MECHANISM_INFO](slot, mechanism, info);
}

static ulong_t corrupted(int index, const char *name, void *session, void *data, ulong_t size,
                         unsigned char *out, ulong_t *length)
{
    struct order order = ordered(name);
    ulong_t result = theirs->function[index](session, data, size, out, length);
    if (!result && out && !strcmp(order.what, "corrupt"))
        out[0] ^= 1;
    return result;
}

#define CORRUPTED(index, name) \
    static ulong_t name(void *a, void *b, ulong_t c, unsigned char *d, ulong_t *e) \
    { return corrupted(index, #name, a, b, c, d, e); }

CORRUPTED(ENCRYPT, C_Encrypt)
CORRUPTED(DECRYPT, C_Decrypt)

ulong_t C_GetFunctionList(void *list)
{
    void *module = dlopen(getenv("FAULTY_MODULE"), RTLD_NOW);
    function_t get = module ? (function_t)dlsym(module, "C_GetFunctionList") : NULL;
    if (!get || get(&theirs))
        return 5;
    memcpy(&ours, theirs, sizeof ours);
    ours.function[INITIALIZE] = (function_t)C_Initialize;
    ours.function[GET_TOKEN_INFO] = (function_t)C_GetTokenInfo;
    ours.function[GET_MECHANISM_INFO] = (function_t)C_GetMechanismInfo;
    ours.function[LOGIN] = (function_t)C_Login;
    ours.function[FIND_OBJECTS_INIT] = (function_t)C_FindObjectsInit;
    ours.function[ENCRYPT_INIT] = (function_t)C_EncryptInit;
    ours.function[ENCRYPT] = (function_t)C_Encrypt;
    ours.function[DECRYPT_INIT] = (function_t)C_DecryptInit;
    ours.function[DECRYPT] = (function_t)C_Decrypt;
    ours.function[GENERATE_KEY] = (function_t)C_GenerateKey;
    *(void **)list = &ours;
    return 0;
}
