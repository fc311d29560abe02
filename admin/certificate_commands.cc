// `show certs`: what we show to clients and upstreams, and until when it holds.
#include <fmt/format.h>

#include "admin/command_table.h"
#include "admin/listing.h"
#include "admin/totals.h"
#include "proxy/tls_files.h"
#include "proxy/tls_store.h"

namespace sluice::admin {
namespace {

Outcome show_certs(const Call& call) {
  constexpr int64_t kDayS = 24 * 3600;
  const auto now_s = static_cast<int64_t>(proxy::Loop::wall_clock_us() / 1'000'000);
  std::vector<Json> rows;
  for (const proxy::TlsStore::Shown& one : call.control().tls().certificates()) {
    const proxy::CertificateInfo& info = *one.info;
    const int64_t left_s = info.not_after_s - now_s;
    rows.push_back({{"user", one.user},
                    {"role", one.is_server ? "server" : "client"},
                    {"file", info.file},
                    {"subject", info.subject},
                    {"issuer", info.issuer},
                    {"names", info.names},
                    {"key", info.key},
                    {"fingerprint_sha256", info.fingerprint},
                    {"not_before", rfc3339(static_cast<uint64_t>(info.not_before_s) * 1'000'000)},
                    {"not_after", rfc3339(static_cast<uint64_t>(info.not_after_s) * 1'000'000)},
                    {"expires_in_s", left_s},
                    {"expires_in_days", left_s / kDayS},
                    {"state", left_s <= 0                                   ? "expired"
                              : left_s <= proxy::Control::kWarnDays * kDayS ? "expiring"
                                                                            : "valid"}});
  }
  return listing(call.format, "certs", rows,
                 {{"user", "USER"},
                  {"role", "ROLE"},
                  {"state", "STATE"},
                  {"expires_in_days", "DAYS-LEFT"},
                  {"not_after", "NOT-AFTER"},
                  {"key", "KEY"},
                  {"names", "NAMES"},
                  {"subject", "SUBJECT"},
                  {"file", "FILE"}});
}

constexpr Command kCommands[] = {
    {"show certs", "",
     "The certificates in force, those of listeners and those that upstreams are shown, with their names and "
     "when they expire. STATE is `expiring` in the last 14 days.",
     false, at_once<show_certs>},
};

}  // namespace

std::span<const Command> certificate_commands() {
  return kCommands;
}

}  // namespace sluice::admin
