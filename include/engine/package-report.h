/*
 * package-report: tells the cloud the installed version, as that of a package, in the thing's shadow named $package.
 *
 * Told when it differs from what the cloud accepted last: after a connect, and after a change that no job brought. What a
 * job brings is left to the service, which knows of a job what package it is; if it does not, the next connect tells it.
 * Never while an update is at work. One report is under way at a time; a rejection, no answer and a connection that ends
 * instead of one are followed by another try, ever more rarely. A policy without the shadow's topics makes AWS close the
 * connection, so the waits outlive connections, and after a few such ends it is left alone for a day.
 *
 * Told the time. What was accepted is kept in the record "package". Sources: codec/package-shadow.h.
 */
#pragma once

#include <stdbool.h>

#include "base/cleanup.h"
#include "codec/package-shadow.h"

typedef struct PackageReport PackageReport;

typedef struct PackageReportParams {
        const char *name; /* copied; "": nothing is ever reported */
        int dir_fd;       /* of the record; borrowed */
        uint64_t answer_timeout_usec;
} PackageReportParams;

/* None may free the report. */
typedef struct PackageReportOps {
        void (*subscribe)(void *userdata); /* to both answers; before the first publish on a connection */
        void (*publish)(const char *json, void *userdata);
} PackageReportOps;

/* -EINVAL: no name for a package. */
_must_use_ int package_report_new(const PackageReportParams *params, const PackageReportOps *ops, void *userdata,
                                  PackageReport **ret);
PackageReport *package_report_free(PackageReport *report); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(PackageReport *, package_report_free);

void package_report_on_connected(PackageReport *report, uint64_t now_usec);
void package_report_on_disconnected(PackageReport *report, uint64_t now_usec);
/* What runs, and whether a job has just brought it; NULL while an update is at work or the device is not known. */
void package_report_on_version(PackageReport *report, const char *version, bool by_job, uint64_t now_usec);
void package_report_on_answer(PackageReport *report, const PackageAnswer *answer, uint64_t now_usec);
void package_report_on_timer(PackageReport *report, uint64_t now_usec);
uint64_t package_report_next_deadline(const PackageReport *report);
