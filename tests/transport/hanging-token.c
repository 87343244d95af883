/* A PKCS #11 module that never answers, or (named so) ends its process: what a bad token is like. */
#include <stdlib.h>
#include <unistd.h>

unsigned long C_GetFunctionList(void **list);

unsigned long C_GetFunctionList(void **list)
{
        *list = NULL;
        if (getenv("TOKEN_CRASHES"))
                abort();
        for (;;)
                (void)pause();
}
