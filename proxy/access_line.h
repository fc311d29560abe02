// A finished request's line in the access log: one JSON object (RFC 8259), which
// docs/observing.md describes.
//
// It is written for each request, so it is made to cost little: what is the same
// in all lines is in a few literals, and that any line fits kMostLineBytes
// spares it from asking for room on the way.
//
// Pure functions; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "proxy/json_text.h"
#include "proxy/report.h"

namespace sluice::proxy {

// Longer targets and other texts are cut.
inline constexpr size_t kMostLineTargetBytes = 4096;
inline constexpr size_t kMostLineTextBytes = 256;

// Of a line: ten texts and the target, and at most 1 KiB of all else: keys,
// numbers, brackets, ellipses. The commas of `attempts` become quotes and commas.
inline constexpr size_t kMostLineBytes =
    kMostJsonPerOctet * (kMostLineTargetBytes + 10 * kMostLineTextBytes) + 1024;

// Writes the line and its end; returns the octet after it. `to` has room for
// kMostLineBytes; `wall_us` is when the request ended, since the epoch.
char* write_access_line(char* to, const AccessRecord& record, uint64_t wall_us);

}  // namespace sluice::proxy
