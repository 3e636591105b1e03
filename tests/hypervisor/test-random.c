/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random bytes from a getrandom() that this test plays (-Wl,--wrap=getrandom): interrupted, short,
 * and refused.
 */
#include <errno.h>
#include <stdint.h>
#include <sys/random.h>

#include "hypervisor/base/hv-base.h"
#include "hypervisor/base/random.h"
#include "tests/hypervisor/tap.h"

/* What the calls answer in turn: a number of bytes, or a negative errno. */
static const int *script;
static unsigned int calls;

ssize_t __wrap_getrandom(void *buffer, size_t length, unsigned int flags);

ssize_t __wrap_getrandom(void *buffer, size_t length, unsigned int flags)
{
    int answer = script[calls++];

    if (answer < 0) {
        errno = -answer;
        return -1;
    }
    if ((size_t)answer > length) {
        tap_bail("more bytes were asked for than are missing");
    }
    /* Each byte says which call it came from. */
    memset(buffer, (int)calls, (size_t)answer);
    return answer;
}

static int fill(const int *answers, void *buffer, size_t length)
{
    script = answers;
    calls = 0;
    return hv_random_fill(buffer, length);
}

int main(void)
{
    static const int whole[] = {8};
    static const int cut[] = {-EINTR, 3, -EINTR, 4, 1};
    static const int refused[] = {5, -ENOSYS};
    uint8_t bytes[9] = {0};

    tap_ok(fill(whole, bytes, 8) == 0 && calls == 1 && bytes[0] == 1 && bytes[7] == 1,
           "eight bytes by one call");
    tap_is(bytes[8], 0, "and no ninth");
    tap_ok(fill(cut, bytes, 8) == 0 && !memcmp(bytes, "\2\2\2\4\4\4\4\5\0", 9),
           "a call that is interrupted or cut short is made again for the rest");
    tap_is(fill(refused, bytes, 8), -ENOSYS, "a failure is the caller's, with its errno");
    tap_ok(fill(NULL, bytes, 0) == 0 && calls == 0, "nothing is asked for nothing");
    return tap_done();
}
