#include "read-budget.h"

#include <errno.h>
#include <openssl/bio.h>

#include "base/cleanup.h"

static int budget_read(BIO *bio, char *buffer, int n_buffer)
{
        ReadBudget *budget = BIO_get_data(bio);
        int n;

        BIO_clear_retry_flags(bio);
        if (budget->left_bytes == 0) {
                BIO_set_retry_read(bio);
                return -1;
        }
        if ((size_t)n_buffer > budget->left_bytes)
                n_buffer = (int)budget->left_bytes;
        n = BIO_read(BIO_next(bio), buffer, n_buffer);
        BIO_copy_next_retry(bio);
        if (n > 0) {
                budget->left_bytes -= (size_t)n;
                budget->read_bytes += (uint64_t)n;
        }
        return n;
}

static int budget_write(BIO *bio, const char *data, int n_data)
{
        ReadBudget *budget = BIO_get_data(bio);
        int n;

        BIO_clear_retry_flags(bio);
        if (budget->hold_writes) {
                BIO_set_retry_write(bio);
                return -1;
        }
        n = BIO_write(BIO_next(bio), data, n_data);
        BIO_copy_next_retry(bio);
        return n;
}

static long budget_ctrl(BIO *bio, int command, long number, void *pointer)
{
        return BIO_ctrl(BIO_next(bio), command, number, pointer);
}

static BIO_METHOD *budget_method(void)
{
        static BIO_METHOD *method;

        if (method)
                return method;
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_FILTER, "read budget");
        if (!method)
                return NULL;
        BIO_meth_set_read(method, budget_read);
        BIO_meth_set_write(method, budget_write);
        BIO_meth_set_ctrl(method, budget_ctrl);
        return method;
}

int read_budget_attach(ReadBudget *budget, SSL *ssl)
{
        BIO *socket = SSL_get_rbio(ssl);
        BIO_METHOD *method = budget_method();
        BIO *filter;

        if (!method)
                return -ENOMEM;
        filter = BIO_new(method);
        if (!filter)
                return -ENOMEM;
        BIO_set_data(filter, budget);
        BIO_set_init(filter, 1);
        /* The chain owns one reference to the socket BIO; the SSL drops those it had, for reading and for writing. */
        BIO_up_ref(socket);
        BIO_push(filter, socket);
        BIO_up_ref(filter);
        SSL_set0_rbio(ssl, filter);
        SSL_set0_wbio(ssl, filter);
        return 0;
}
