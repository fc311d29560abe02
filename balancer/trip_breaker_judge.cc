// What the detectors' figures mean: the verdict of a TripBreaker.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "balancer/trip_breaker.h"

namespace sluice::balancer {
namespace {

using conf::Colour;

// Who makes at least this much of green's errors is named in a hold.
constexpr double kMostErrors = 0.5;

std::string percent_text(double rate) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f %%", 100 * rate);
  return text;
}

// "client 10.1.2.3" when one makes most of the errors, else empty.
std::string heaviest(const HeavyHitters& table, const char* kind) {
  const std::vector<HeavyHitters::Entry> ranking = table.ranking();
  if (ranking.empty()) return {};
  const auto guaranteed = static_cast<double>(ranking.front().guaranteed());
  if (guaranteed < kMostErrors * static_cast<double>(table.total())) return {};
  return std::string(kind) + " " + ranking.front().label;
}

}  // namespace

const Verdict& TripBreaker::judge(uint64_t now_ms) {
  if (!judging()) return verdict_;
  keep_sample(now_ms);
  Verdict verdict = judge_ceiling(now_ms);
  if (!verdict.tripped()) verdict = judge_comparison();
  if (!verdict.tripped()) verdict = judge_rise(now_ms);
  if (verdict.tripped()) {
    trip(std::move(verdict), now_ms);
  } else {
    verdict_ = std::move(verdict);
  }
  return verdict_;
}

Verdict TripBreaker::judge_ceiling(uint64_t now_ms) const {
  if (settings_.max_error_rate <= 0) return {};
  const ErrorWindow::Counts counts = window_.counts(now_ms);
  if (counts.attempts < std::max<uint64_t>(1, settings_.min_requests)) return {};
  const double rate = static_cast<double>(counts.errors) / static_cast<double>(counts.attempts);
  if (rate <= settings_.max_error_rate) return {};
  return {Verdict::Kind::trip, Detector::ceiling,
          "green's error rate is " + percent_text(rate) + " over the last " +
              std::to_string(settings_.window_ms) + " ms, above max_error_rate " +
              percent_text(settings_.max_error_rate)};
}

Verdict TripBreaker::judge_comparison() const {
  if (!comparing() || !comparison_.process().alarmed(settings_.false_trip_rate)) return {};
  if (evidence_.counts[static_cast<size_t>(Colour::blue)].attempts == 0) return {};  // beside whom?
  return {Verdict::Kind::trip, Detector::comparison,
          "green fails more than blue at the same time: " + rates_text()};
}

Verdict TripBreaker::judge_rise(uint64_t now_ms) const {
  const bool alone = !comparing() || blue_is_silent(now_ms);
  if (!normal().frozen() && !alone) return {};
  if (green_rise_.value() < rise_threshold()) {
    if (!uncapped_rise_.alarmed()) return {};
    std::string who = heaviest(clients_, "client");
    if (who.empty()) who = heaviest(paths_, "path");
    return {Verdict::Kind::hold, Detector::rise,
            "green's errors rose, but most come from " + (who.empty() ? "a few clients" : who)};
  }
  const std::string against = normal().frozen()
                                  ? "against " + percent_text(normal().bounds().rate) + " normally"
                                  : "above " + percent_text(normal().bounds().upper) +
                                        ", the most that passes for normal while little is known of blue";
  if (blue_rise_.alarmed()) {
    return {Verdict::Kind::hold, Detector::rise,
            "green's errors rose " + against + ", but blue's rose too: " + rates_text()};
  }
  if (alone) {
    if (!green_rise_.alarmed()) return {};
    return {Verdict::Kind::trip, Detector::rise, "green's errors rose " + against + ": " + rates_text()};
  }
  if (green_worse_recently()) {
    return {Verdict::Kind::trip, Detector::rise,
            "green's errors rose " + against + " and blue's did not: " + rates_text()};
  }
  if (!green_rise_.alarmed()) return {};
  const bool too_little = excursion_.blue_oks > 0 && recent_.process().value() >= recent_threshold() &&
                          only_green() < least_only_green();
  return {Verdict::Kind::hold, Detector::rise,
          "green's errors rose " + against +
              (too_little ? ", by too little to tell it from a rise of both: " + rates_text()
                          : "; waiting for blue to show whether it is green alone")};
}

// Where blue gets little anyway, it says nothing for that long by chance. One that
// was never asked in this step is not there for whoever is, whatever the reason.
bool TripBreaker::blue_is_silent(uint64_t now_ms) const {
  const bool never_asked = evidence_.counts[static_cast<size_t>(Colour::blue)].attempts == 0;
  const double share = never_asked ? share_.split() : share_.value();
  const double odds = share / (1 - share);
  return excursion_.blue() == 0 && now_ms >= excursion_.began_ms + kBlueSilenceMs &&
         static_cast<double>(excursion_.green()) >= kBlueSilenceLog * odds;
}

double TripBreaker::caution() const {
  return std::max(1.0, share_.value() / (1 - share_.value()));
}

double TripBreaker::recent_threshold() const {
  const auto m = static_cast<double>(std::max<uint64_t>(1, suspicious_excursions_));
  const auto fewer = static_cast<double>(2 * std::min(excursion_.green(), excursion_.blue()));
  const double lateness = std::max(1.0, fewer / kTimelyAttempts);
  return recent_.process().threshold(kSharedOutageRate / caution() * 2 / (m * (m + 1))) * lateness * lateness;
}

double TripBreaker::only_green() const {
  const RateBounds bounds = normal().bounds();
  const auto& [blue, green] = excursion_.by_lot;
  return only_green_log(green, blue, bounds.rate, least_risen_rate(bounds.upper));
}

double TripBreaker::least_only_green() const {
  return kOnlyGreenLog + kSmallShareLog * std::max(0.0, 1 - 2 * share_.value()) + std::log(caution());
}

// A blue that had risen before green left rest says that something is wrong with both,
// however well it did since.
double TripBreaker::only_green_threshold() const {
  const double normal_rate = normal().bounds().rate;
  const auto& [blue, green] = excursion_.by_lot;
  const double risen_before =
      risen_log({blue_attempts_, blue_errors_}, normal_rate) - risen_log(blue, normal_rate);
  const double haste = kHaste * std::log(kPatientAttempts / std::max(1.0, blue.attempts + green.attempts));
  return least_only_green() + std::max(0.0, haste) + std::max(0.0, risen_before);
}

bool TripBreaker::green_worse_recently() const {
  if (excursion_.blue_oks == 0) return false;
  if (recent_.process().value() >= recent_threshold() && only_green() >= only_green_threshold()) return true;
  return excursion_.green_errors == kBrokenAttempts && excursion_.green_oks == 0 &&
         excursion_.blue_errors == 0 &&
         recent_.process().broken_value() >=
             kBrokenEvidence * caution() * (1 + std::log(static_cast<double>(excursions_)));
}

}  // namespace sluice::balancer
