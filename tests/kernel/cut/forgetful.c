/* Preloaded into the service, to see that the test of power cuts finds what it is there for: the database's file is
 * never synced, and whoever asks is told that it was. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int fdatasync(int fd)
{
    char name[32], path[4096];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, path, sizeof path - 1);
    if (length > 3) {
        path[length] = 0;
        if (strcmp(path + length - 3, "/db") == 0)
            return 0;
    }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return real(fd);
}
