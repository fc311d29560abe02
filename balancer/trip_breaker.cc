#include "balancer/trip_breaker.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "balancer/hash.h"
#include "balancer/judged_outcome.h"

namespace sluice::balancer {
namespace {

using conf::Colour;

// Blue's recent rate, which EProcess builds its alternatives on, is a mean over
// about kRecentAttempts that starts from the baseline with as much weight.
constexpr double kRecentAttempts = 1000;
constexpr double kUnknownRate = 0.003;
constexpr uint64_t kSampleSpacingMs = 20;

size_t index(Colour colour) {
  return static_cast<size_t>(colour);
}

template <typename T>
void push_bounded(std::vector<T>& list, size_t limit, T value) {
  if (list.size() == limit) list.erase(list.begin());
  list.push_back(std::move(value));
}

std::vector<Involved> involved(const HeavyHitters& table, double (Traffic::*share)(uint64_t) const,
                               const Traffic& traffic) {
  std::vector<Involved> list;
  for (const HeavyHitters::Entry& entry : table.ranking()) {
    if (list.size() == Evidence::kInvolved) break;
    list.push_back({entry.label, entry.estimate,
                    static_cast<double>(entry.estimate) / static_cast<double>(table.total()),
                    share == nullptr || !traffic.known() ? -1 : (traffic.*share)(entry.key)});
  }
  return list;
}

}  // namespace

TripBreaker::TripBreaker(std::string service, const conf::Trip& settings)
    : service_(std::move(service)),
      settings_(settings),
      recent_({10}, 0.05, kRecentHeadStart),
      comparison_({2, 5, 20}, 0.25, kComparisonHeadStart),
      window_(settings.window_ms) {
  evidence_.service = service_;
}

void TripBreaker::configure(const conf::Trip& settings) {
  if (settings.window_ms != settings_.window_ms) window_ = ErrorWindow(settings.window_ms);
  settings_ = settings;
  if (!settings_.enabled && !tripped()) verdict_ = {};
}

void TripBreaker::begin_step(conf::BasisPoints split, uint64_t now_ms) {
  push_bounded(evidence_.splits, Evidence::kSplitChanges, SplitChange{now_ms, split});
  if (tripped()) return;
  split_ = split;
  verdict_ = {};
  std::vector<SplitChange> splits = std::move(evidence_.splits);
  evidence_ = {};
  evidence_.service = service_;
  evidence_.splits = std::move(splits);
  evidence_.step_began_ms = now_ms;
  history_.clear();
  endpoints_.clear();
  clients_.clear();
  paths_.clear();
  share_.begin_step(split);
  window_.clear();
  baseline_.freeze();
  presume_normal();
  adopt_baseline();
  clear_detectors();
}

// For where nobody else is there to judge by: what is known of blue bounds what may
// pass for normal, however little it is.
void TripBreaker::presume_normal() {
  own_baseline_ = {};
  own_baseline_.presume(std::min(kMostPresumed, baseline_.known().upper));
}

void TripBreaker::recall_blue(const BlueKnown& known, uint64_t now_ms) {
  learn_blue(known.attempts - std::min(known.attempts, known.errors), known.errors, now_ms);
  if (baseline_.frozen() || own_baseline_.frozen()) return;
  presume_normal();
  adopt_baseline();
}

void TripBreaker::adopt_baseline() {
  for (Cusum* rise : {&green_rise_, &blue_rise_, &uncapped_rise_}) {
    rise->set_normal_rate(normal().bounds().upper);
  }
}

void TripBreaker::clear_detectors() {
  clear_rise();
  comparison_.clear();
  comparison_influence_.clear();
  green_begun_ = false;
}

void TripBreaker::clear_rise() {
  for (Cusum* rise : {&green_rise_, &blue_rise_, &uncapped_rise_}) rise->clear();
  recent_.clear();
  recent_influence_.clear();
  excursion_ = {};
  excursions_ = 0;
  suspicious_excursions_ = 0;
}

// Everything that must not depend on the attempts that come next.
void TripBreaker::expect_next() {
  const double rate = normal().frozen() ? normal().bounds().rate : kUnknownRate;
  const double blue_rate = (blue_errors_ + rate * kRecentAttempts) / (blue_attempts_ + kRecentAttempts);
  comparison_.expect(share_.value(), blue_rate);
  recent_.expect(share_.value(), blue_rate);
}

void TripBreaker::begin_excursion_if_at_rest(uint64_t now_ms) {
  if (!green_rise_.at_rest()) return;
  excursion_ = {};
  excursion_.began_ms = now_ms;
  // Not recent_influence_: one that fails all the time would have its free errors
  // anew in each excursion.
  recent_.clear();
  // What still waits is of the time before: beside errors of now it would lie.
  comparison_.pass_over_waiting();
}

// To be called after each admitted error of green.
void TripBreaker::note_suspicion() {
  if (excursion_.green_errors == 1) ++excursions_;
  if (excursion_.suspicious || green_rise_.value() < rise_threshold()) return;
  excursion_.suspicious = true;
  ++suspicious_excursions_;
}

double TripBreaker::rise_threshold() const {
  const auto excursions = static_cast<double>(std::max<uint64_t>(1, excursions_));
  return std::min(Cusum::kThreshold, kFirstRiseThreshold + 2 * std::log(excursions));
}

// What is held back for its client is left out of the rate that blue has now, as it is
// elsewhere.
void TripBreaker::learn_blue(uint64_t oks, uint64_t errors, uint64_t now_ms, bool held) {
  baseline_.add(oks, errors, now_ms);
  if (!held) {
    blue_attempts_ += static_cast<double>(oks + errors);
    blue_errors_ += static_cast<double>(errors);
  }
  while (blue_attempts_ > 2 * kRecentAttempts) {
    blue_attempts_ /= 2;
    blue_errors_ /= 2;
  }
  if (!judging()) return;
  const bool started = !baseline_.frozen() && baseline_.freeze();
  if (!started && !baseline_.refine()) return;
  adopt_baseline();
  // What was seen beside a rate that was only presumed says nothing of green beside blue.
  if (started && comparing()) clear_rise();
}

void TripBreaker::learn_green(uint64_t oks, uint64_t errors, uint64_t now_ms) {
  if (comparing() || baseline_.frozen()) return;
  own_baseline_.add(oks, errors, now_ms);
  const bool started = !own_baseline_.frozen() && own_baseline_.freeze();
  if (started || own_baseline_.refine()) adopt_baseline();
}

// What says how often each colour fails.
void TripBreaker::count_oks(uint64_t blue, uint64_t green, uint64_t now_ms) {
  evidence_.counts[index(Colour::blue)].attempts += blue;
  evidence_.counts[index(Colour::green)].attempts += green;
  window_.add(green, 0, now_ms);
  begin_excursion_if_at_rest(now_ms);
  green_rise_.add_oks(green);
  blue_rise_.add_oks(blue);
  uncapped_rise_.add_oks(green);
}

// Blue's head start says nothing of who gets how much.
void TripBreaker::note_share(uint64_t blue, uint64_t green) {
  green_begun_ = green_begun_ || green > 0;
  if (green_begun_) share_.add(blue, green);
}

void TripBreaker::compare_oks(uint64_t blue, uint64_t green) {
  if (comparing()) comparison_.add_oks(blue, green, share_.value());
  recent_.add_oks(blue, green, share_.value());
  excursion_.green_oks += green;
  excursion_.blue_oks += blue;
  excursion_.by_lot[index(Colour::green)].attempts += static_cast<double>(green);
  excursion_.by_lot[index(Colour::blue)].attempts += static_cast<double>(blue);
}

const Verdict& TripBreaker::add_oks(uint64_t blue, uint64_t green, uint64_t now_ms) {
  if (judging()) {
    expect_next();
    count_oks(blue, green, now_ms);
    compare_oks(blue, green);
    note_share(blue, green);
    learn_green(green, 0, now_ms);
  }
  learn_blue(blue, 0, now_ms);
  return judge(now_ms);
}

const Verdict& TripBreaker::add_other_oks(uint64_t blue, uint64_t green, uint64_t now_ms) {
  if (blue == 0 && green == 0) return verdict_;
  if (judging()) {
    count_oks(blue, green, now_ms);
    learn_green(green, 0, now_ms);
  }
  learn_blue(blue, 0, now_ms);
  return judge(now_ms);
}

const Verdict& TripBreaker::add_error(const FailedAttempt& attempt, uint64_t now_ms) {
  if (attempt.outcome == Outcome::cancelled) return verdict_;
  const bool green = attempt.colour == Colour::green;
  if (!counts_as_error(settings_, attempt.outcome)) {
    return attempt.by_lot ? add_oks(green ? 0 : 1, green ? 1 : 0, now_ms)
                          : add_other_oks(green ? 0 : 1, green ? 1 : 0, now_ms);
  }
  auto admission = Influence::Admission::counted;
  if (judging()) {
    note_error(attempt, now_ms);
    const bool in_step = attempt.begun_ms == 0 || attempt.begun_ms >= evidence_.step_began_ms;
    if (in_step) admission = judge_error(attempt, now_ms);
  }
  if (!green) learn_blue(0, 1, now_ms, admission == Influence::Admission::held);
  return judge(now_ms);
}

// How the rise took it.
Influence::Admission TripBreaker::judge_error(const FailedAttempt& attempt, uint64_t now_ms) {
  const bool green = attempt.colour == Colour::green;
  expect_next();
  if (green) window_.add(0, 1, now_ms);
  if (attempt.by_lot && comparing() && comparison_influence_.admit(attempt.client.hash, attempt.path.hash) &&
      comparison_.add_error(attempt.colour)) {
    comparison_influence_.clear();
  }
  begin_excursion_if_at_rest(now_ms);
  if (green) uncapped_rise_.add_error();
  const auto admission = recent_influence_.weigh(attempt.client.hash, attempt.path.hash);
  const bool admitted = admission == Influence::Admission::counted;
  if (!admitted) ++evidence_.held_back;
  const bool begins = admitted && green && green_rise_.at_rest();
  if (attempt.by_lot && !begins && admission != Influence::Admission::held) {
    Tally& seen = excursion_.by_lot[index(attempt.colour)];
    ++seen.attempts;
    ++seen.errors;
    if (admitted) recent_.add_error(attempt.colour);
  }
  if (admitted) add_to_rise(attempt.colour);
  if (attempt.by_lot) {
    note_share(green ? 0 : 1, green ? 1 : 0);
    if (comparing()) comparison_.note_error_ended(attempt.colour, share_.value());
    recent_.note_error_ended(attempt.colour, share_.value());
  }
  if (green) learn_green(0, 1, now_ms);
  return admission;
}

void TripBreaker::add_to_rise(Colour colour) {
  if (colour == Colour::blue) {
    blue_rise_.add_error();
    ++excursion_.blue_errors;
    return;
  }
  green_rise_.add_error();
  ++excursion_.green_errors;
  note_suspicion();
}

void TripBreaker::note_error(const FailedAttempt& attempt, uint64_t now_ms) {
  ColourCounts& counts = evidence_.counts[index(attempt.colour)];
  ++counts.attempts;
  ++counts.errors;
  ++counts.by_outcome[static_cast<size_t>(attempt.outcome)];
  if (attempt.colour != Colour::green) return;
  if (evidence_.first_error_ms == 0) evidence_.first_error_ms = now_ms;
  if (!attempt.endpoint.empty()) {
    endpoints_.add(hash_finish(hash_append(kFnvOffset, attempt.endpoint)), attempt.endpoint);
  }
  if (attempt.client.hash != 0) clients_.add(attempt.client.hash, attempt.client.label);
  if (attempt.path.hash != 0) paths_.add(attempt.path.hash, attempt.path.label);
  if (attempt.request_id.empty()) return;
  push_bounded(evidence_.last_failed, Evidence::kFailedRequests,
               FailedRequest{now_ms, attempt.colour, attempt.outcome, std::string(attempt.request_id),
                             std::string(attempt.endpoint), std::string(attempt.client.label),
                             std::string(attempt.path.label)});
}

void TripBreaker::trip(Verdict verdict, uint64_t now_ms) {
  verdict_ = std::move(verdict);
  evidence_.tripped_ms = now_ms;
  history_.add(sample(now_ms));
  evidence_ = compose_evidence();
}

const Verdict& TripBreaker::green_has_no_endpoint(uint64_t now_ms) {
  if (judging()) {
    trip({Verdict::Kind::trip, Detector::no_endpoint, "green has no endpoint left: " + rates_text()}, now_ms);
  }
  return verdict_;
}

conf::Status TripBreaker::trip_by_hand(std::string_view reason, uint64_t now_ms) {
  if (tripped()) {
    return conf::Error{conf::Error::Kind::refused, conf::Error::Source::operator_, false,
                       "service " + service_ + " is already tripped: " + verdict_.reason};
  }
  trip({Verdict::Kind::trip, Detector::by_hand, reason.empty() ? "tripped by hand" : std::string(reason)},
       now_ms);
  return conf::Done{};
}

conf::Status TripBreaker::reset() {
  if (!tripped()) {
    return conf::Error{conf::Error::Kind::refused, conf::Error::Source::operator_, false,
                       "service " + service_ + " is not tripped: there is nothing to reset"};
  }
  verdict_ = {};
  split_ = 0;
  clear_detectors();
  return conf::Done{};
}

void TripBreaker::restore(Evidence evidence) {
  verdict_ = evidence.verdict;
  evidence_ = std::move(evidence);
}

DetectorSample TripBreaker::sample(uint64_t now_ms) const {
  const bool alone = !comparing() || blue_is_silent(now_ms);
  return {.at_ms = now_ms,
          .green_rise = green_rise_.value(),
          .rise_threshold = alone ? Cusum::kThreshold : rise_threshold(),
          .rise_alone = alone,
          .blue_rise = blue_rise_.value(),
          .recent = std::log(recent_.process().value()),
          .recent_threshold = std::log(recent_threshold()),
          .only_green = only_green(),
          .only_green_threshold = only_green_threshold(),
          .comparison = std::log(comparison_.process().value()),
          .comparison_threshold = std::log(comparison_.process().threshold(settings_.false_trip_rate))};
}

void TripBreaker::keep_sample(uint64_t now_ms) {
  if (now_ms >= last_sample_ms() + kSampleSpacingMs) history_.add(sample(now_ms));
}

// 0: there was none in this step.
uint64_t TripBreaker::last_sample_ms() const {
  return history_.all().empty() ? 0 : history_.all().back().at_ms;
}

std::string TripBreaker::rates_text() const {
  std::string text;
  for (const Colour colour : {Colour::green, Colour::blue}) {
    const ColourCounts& counts = evidence_.counts[index(colour)];
    if (!text.empty()) text += ", ";
    text += std::string(to_string(colour)) + " " + std::to_string(counts.errors) + " of " +
            std::to_string(counts.attempts) + " attempts";
  }
  return text;
}

TripStatus TripBreaker::status() const {
  return {
      .verdict = verdict_,
      .enabled = settings_.enabled,
      .judging = judging(),
      .learning = !normal().frozen(),
      .split = split_,
      .green_share = share_.value(),
      .baseline = comparing() && !normal().frozen() ? baseline_.known() : normal().bounds(),
      .baseline_attempts = normal().frozen() ? normal().frozen_attempts()
                           : comparing()     ? baseline_.known_attempts()
                                             : normal().known_attempts(),
      .detectors = tripped() && !history_.all().empty() ? history_.all().back() : sample(last_sample_ms()),
      .counts = evidence_.counts};
}

Evidence TripBreaker::compose_evidence() const {
  Evidence copy = evidence_;
  copy.verdict = verdict_;
  copy.green_share = share_.value();
  copy.samples = history_.all();
  if (normal().frozen() || !comparing() || verdict_.detector == Detector::rise) {
    copy.baseline = normal().bounds();
    copy.baseline_attempts = normal().frozen_attempts();
  }
  copy.endpoints = involved(endpoints_, nullptr, traffic_);
  copy.clients = involved(clients_, &Traffic::client_share, traffic_);
  copy.paths = involved(paths_, &Traffic::path_share, traffic_);
  return copy;
}

}  // namespace sluice::balancer
