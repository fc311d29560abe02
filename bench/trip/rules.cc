#include "rules.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "balancer/error_window.h"
#include "balancer/trip_breaker.h"

namespace sluice::bench {
namespace {

using balancer::ErrorWindow;
using conf::Colour;

class Judge : public Rule {
 public:
  void warm_up(uint64_t oks, uint64_t errors) override {
    const uint64_t run = oks / (errors + 1);  // the errors lie evenly among the oks
    for (uint64_t i = 0; i < errors; ++i) {
      breaker_.add_oks(run, 0, 0);
      breaker_.add_error({.colour = Colour::blue}, 0);
    }
    breaker_.add_oks(oks - run * errors, 0, 0);
  }
  void begin(conf::BasisPoints split, uint64_t now_ms) override { breaker_.begin_step(split, now_ms); }
  bool oks(uint64_t blue, uint64_t green, uint64_t now_ms) override {
    return breaker_.add_oks(blue, green, now_ms).tripped();
  }
  bool error(Colour colour, uint64_t client, uint64_t now_ms) override {
    return breaker_.add_error({.colour = colour, .client = {client, {}}}, now_ms).tripped();
  }
  void client_seen(uint64_t client) override {
    breaker_.sample_traffic({client, {}}, {}, balancer::Traffic::kSampleEvery);
  }

 private:
  balancer::TripBreaker breaker_{"web", {}};
};

// Detectors A and B to the letter of their formulas: one Cusum alternative,
// errors only, no renewal, no cap, A held by blue's alarm and by nothing else.
class PlainAB : public Rule {
 public:
  void warm_up(uint64_t oks, uint64_t errors) override {
    const auto attempts = static_cast<double>(oks + errors);
    p0_ = std::max(0.001, balancer::wilson(static_cast<double>(errors), attempts).upper);
  }
  void begin(conf::BasisPoints split, uint64_t) override {
    share_ = static_cast<double>(split) / conf::kFullSplit;
    const double p1 = std::min(0.95, std::max(5 * p0_, 0.02));
    error_step_ = std::log(p1 / p0_);
    ok_step_ = std::log((1 - p1) / (1 - p0_));
  }
  bool oks(uint64_t blue, uint64_t green, uint64_t) override {
    sums_[0] = std::max(0.0, sums_[0] + static_cast<double>(blue) * ok_step_);
    sums_[1] = std::max(0.0, sums_[1] + static_cast<double>(green) * ok_step_);
    return false;
  }
  bool error(Colour colour, uint64_t, uint64_t) override {
    sums_[static_cast<size_t>(colour)] += error_step_;
    double mean = 0;
    for (size_t i = 0; i < kRatios.size(); ++i) {
      values_[i] *= (colour == Colour::green ? kRatios[i] : 1) / (1 - share_ + kRatios[i] * share_);
      mean += values_[i] / static_cast<double>(kRatios.size());
    }
    return mean >= kBLimit || (sums_[1] >= kALimit && sums_[0] < kALimit);
  }

 private:
  static constexpr std::array<double, 3> kRatios{2, 5, 20};
  static constexpr double kALimit = 18;
  static constexpr double kBLimit = 1e4;
  double p0_ = 0.001;
  double share_ = 0;
  double error_step_ = 0;
  double ok_step_ = 0;
  std::array<double, 2> sums_{};
  std::array<double, 3> values_{1, 1, 1};
};

// Rules that know nothing from before the step.
class Forgetful : public Rule {
 public:
  void warm_up(uint64_t, uint64_t) override {}
  void begin(conf::BasisPoints, uint64_t now_ms) override { began_ms_ = now_ms; }

 protected:
  // How many whole intervals have passed since the step began.
  uint64_t intervals(uint64_t now_ms, uint64_t interval_ms) const {
    return (now_ms - began_ms_) / interval_ms;
  }

 private:
  uint64_t began_ms_ = 0;
};

// Envoy's and HAProxy's simplest: five errors in a row.
class FiveInARow : public Forgetful {
 public:
  bool oks(uint64_t, uint64_t green, uint64_t) override {
    if (green > 0) row_ = 0;
    return false;
  }
  bool error(Colour colour, uint64_t, uint64_t) override {
    if (colour == Colour::green) ++row_;
    return row_ >= 5;
  }

 private:
  int row_ = 0;
};

// Envoy's outlier detection by success rate: every 10 s each host with at least
// 100 requests is compared with the mean less 1.9 standard deviations of all,
// here 5 hosts of each colour; green trips when one of its hosts is ejected. Ok
// attempts are spread evenly over the hosts, errors by chance.
class EnvoySuccessRate : public Forgetful {
 public:
  bool oks(uint64_t blue, uint64_t green, uint64_t now_ms) override {
    oks_[0] += blue;
    oks_[1] += green;
    if (intervals(now_ms, 10'000) == checks_) return false;
    checks_ = intervals(now_ms, 10'000);
    const bool outlier = check();
    oks_ = {};
    errors_ = {};
    return outlier;
  }
  bool error(Colour colour, uint64_t, uint64_t) override {
    ++errors_[static_cast<size_t>(colour)][random_.below(kHosts)];
    return false;
  }

 private:
  static constexpr size_t kHosts = 5;
  bool check() const {
    std::vector<double> all;
    std::vector<double> green;
    for (size_t colour = 0; colour < 2; ++colour) {
      for (const uint64_t errors : errors_[colour]) {
        const double oks = static_cast<double>(oks_[colour]) / kHosts;
        if (oks + static_cast<double>(errors) < 100) continue;
        all.push_back(oks / (oks + static_cast<double>(errors)));
        if (colour == 1) green.push_back(all.back());
      }
    }
    if (all.size() < kHosts || green.empty()) return false;
    double mean = 0;
    for (const double rate : all) mean += rate / static_cast<double>(all.size());
    double variance = 0;
    for (const double rate : all) variance += (rate - mean) * (rate - mean) / static_cast<double>(all.size());
    return *std::min_element(green.begin(), green.end()) < mean - 1.9 * std::sqrt(variance);
  }

  std::array<uint64_t, 2> oks_{};
  std::array<std::array<uint64_t, kHosts>, 2> errors_{};
  uint64_t checks_ = 0;
  balancer::Random random_{1};
};

// An Argo analysis: every 60 s the success rate of the last minute must reach a
// bound; the fifth failed check aborts.
class ArgoAnalysis : public Forgetful {
 public:
  explicit ArgoAnalysis(double least_success) : most_errors_(1 - least_success) {}
  bool oks(uint64_t, uint64_t green, uint64_t now_ms) override {
    window_.attempts += green;
    if (intervals(now_ms, 60'000) == checks_) return false;
    checks_ = intervals(now_ms, 60'000);
    const double allowed = most_errors_ * static_cast<double>(window_.attempts);
    if (static_cast<double>(window_.errors) > allowed) ++failed_;
    window_ = {};
    return failed_ >= 5;
  }
  bool error(Colour colour, uint64_t, uint64_t) override {
    if (colour == Colour::green) {
      ++window_.attempts;
      ++window_.errors;
    }
    return false;
  }

 private:
  const double most_errors_;
  ErrorWindow::Counts window_;
  uint64_t checks_ = 0;
  int failed_ = 0;
};

// Traefik's circuit breaker with NetworkErrorRatio() > 0.25 or
// ResponseCodeRatio(500, 600, 0, 600) > 0.25: a rolling window of 10 s, looked
// at every 100 ms.
class TraefikRatio : public Forgetful {
 public:
  bool oks(uint64_t, uint64_t green, uint64_t now_ms) override {
    window_.add(green, 0, now_ms);
    if (intervals(now_ms, 100) == checks_) return false;
    checks_ = intervals(now_ms, 100);
    const ErrorWindow::Counts counts = window_.counts(now_ms);
    return static_cast<double>(counts.errors) > 0.25 * static_cast<double>(counts.attempts);
  }
  bool error(Colour colour, uint64_t, uint64_t now_ms) override {
    if (colour == Colour::green) window_.add(0, 1, now_ms);
    return false;
  }

 private:
  ErrorWindow window_{10'000};
  uint64_t checks_ = 0;
};

}  // namespace

std::unique_ptr<Rule> make_judge() {
  return std::make_unique<Judge>();
}

std::vector<NamedRule> all_rules() {
  return {{"sluice", make_judge},
          {"plain A and B", [] { return std::make_unique<PlainAB>(); }},
          {"5 errors in a row", [] { return std::make_unique<FiveInARow>(); }},
          {"Envoy success rate", [] { return std::make_unique<EnvoySuccessRate>(); }},
          {"Argo, 95 %", [] { return std::make_unique<ArgoAnalysis>(0.95); }},
          {"Argo, 99 %", [] { return std::make_unique<ArgoAnalysis>(0.99); }},
          {"Traefik, 25 %", [] { return std::make_unique<TraefikRatio>(); }}};
}

}  // namespace sluice::bench
