/*
 * update-report: what the cloud is told of an update, in the FreeRTOS agent's vocabulary and ours.
 *
 * statusDetails: `receive` ("64/158" blocks), `self_test` (ready, active), `updatedBy`, `reason`, as the FreeRTOS OTA
 * agent v3.4 writes them; and our `phase`, `error` (one word of base/failure), `detail` and `waiting`. The service
 * replaces the map as a whole, so each report is complete.
 */
#pragma once

#include "codec/job-report.h"
#include "engine/update.h"

/* *ret is to be ended with job_report_done() or handed on. -ENOMEM. */
_must_use_ int update_report_progress(const UpdateStatus *status, uint32_t block_bytes, JobReport *ret);
_must_use_ int update_report_final(const UpdateStatus *status, JobStatus job_status, uint32_t block_bytes,
                                   JobReport *ret);

/* 0 to 100 of the download. */
unsigned update_percent(const UpdateStatus *status);
/* A job's certfile selects an entry of the trust store by its last path component. */
const char *update_cert_selector(const char *certfile);
