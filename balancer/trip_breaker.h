// TripBreaker: the judge of one service. It is told how attempts end and says
// whether green must go.
//
//   serving ── trip (a detector, no endpoint, by hand) ──> tripped
//      ^                                                      │
//      └──────────────────────── reset() ─────────────────────┘
//
// While serving, the verdict is `none` or `hold`; a hold says why a rollout
// must not go on and passes with its cause. A trip stays until reset().
//
// How it decides (docs/judge.md has the reasons and the figures):
//
//   A  green's Cusum against blue's frozen Baseline. It trips alone at
//      Cusum::kThreshold only where blue cannot be asked: at split 100, or with
//      no blue attempt for kBlueSilenceMs. Otherwise it needs rise_threshold()
//      and the word of a second EProcess, `recent`, which begins when green's
//      Cusum leaves rest and must find green worse than blue *since then*, and
//      only_green.h must find that blue is where it always was. Blue's own Cusum
//      alarm holds A.
//   B  an EProcess over the whole step; the chance that it ever trips a green
//      that fails like blue is at most `false_trip_rate`.
//   -  max_error_rate, a plain ceiling, if it is set.
//
// Before Baseline::kLeastAttempts of blue's are known (a cold start) only B
// judges. At split 100 B rests, for there is no blue to compare with; a cold
// start there takes green's own beginning for normal, up to what may be normal by
// the little that is known of blue, and to kMostPresumed. The same bounds are
// green's where a blue of which nothing is known is silent. At split 0 nothing is
// judged and blue is learned.
//
// What the caller owes: each attempt is told once. One that is in flight past
// its deadline is told as an error then and not again when it ends. Attempts
// that were cancelled, or that the proxy itself refused, are not told at all.
//
// Thread: the control thread. Owner: the service's control state. Memory: fixed
// but for the labels. Times: milliseconds on one clock that never goes back.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "balancer/baseline.h"
#include "balancer/cusum.h"
#include "balancer/error_window.h"
#include "balancer/evidence.h"
#include "balancer/green_share.h"
#include "balancer/heavy_hitters.h"
#include "balancer/influence.h"
#include "balancer/only_green.h"
#include "balancer/paced_eprocess.h"
#include "balancer/sample_history.h"
#include "conf/config.h"
#include "conf/result.h"

namespace sluice::balancer {

// One attempt that did not end well. The text is copied.
struct FailedAttempt {
  conf::Colour colour = conf::Colour::green;
  Outcome outcome = Outcome::http_5xx;
  // The split chose the colour. False for a retry, a rescue, an override: those
  // count for A, but say nothing when colours are compared.
  bool by_lot = true;
  uint64_t begun_ms = 0;  // before the step: kept as evidence, not judged; 0: not known, judged
  std::string_view request_id;
  std::string_view endpoint;
  Origin client;
  Origin path;
};

// What `show trip` says.
struct TripStatus {
  Verdict verdict;
  bool enabled = true;
  bool judging = false;   // the split is above 0 and nothing has tripped
  bool learning = false;  // no baseline yet: A rests, B judges below split 100
  conf::BasisPoints split = 0;
  double green_share = 0;
  RateBounds baseline;
  uint64_t baseline_attempts = 0;  // known so far while learning
  DetectorSample detectors;
  std::array<ColourCounts, 2> counts;  // by conf::Colour, since the step began
};

class TripBreaker {
 public:
  // What green's rise must reach for `recent` to be asked, in the k-th excursion
  // of a step: this much + 2 ln k, at most Cusum::kThreshold. The chances of
  // an excursion by chance, e^-threshold, so have a sum over all k.
  static constexpr double kFirstRiseThreshold = 10;
  // What `recent` may spend of the chance to blame green for a shared outage at
  // the first suspicion of a step, at a split of up to 50; the m-th has
  // 2/(m(m+1)) of it, so all have twice that. Above 50 it is
  // smaller by (1-θ)/θ, since there patience costs little and few attempts of
  // blue decide.
  static constexpr double kSharedOutageRate = 1.0 / 300;
  // A word that comes later than this, counted as twice the attempts of the colour
  // that has fewer, must weigh more, by the square of their number over it: a fault
  // that takes so long to show is for B, and chance has had its time.
  static constexpr double kTimelyAttempts = 1800;
  // What only_green_log() must reach, since green left rest. These add to it: up to
  // kSmallShareLog where green has less than half, since patience costs less there,
  // and above a half as much as for `recent`; what blue's rate had spoken for a rise of
  // blue before; and while both colours have had fewer than kPatientAttempts, kHaste
  // times the logarithm of kPatientAttempts over their number. A shared outage that is plain to see makes its
  // false evidence at once or never, while green's own fault goes on making more.
  static constexpr double kOnlyGreenLog = 5.7;
  static constexpr double kSmallShareLog = 2;
  static constexpr double kPatientAttempts = 1200;
  static constexpr double kHaste = 3;
  // Green broken outright: its first kBrokenAttempts since it was at rest all
  // failed, blue answered, and `broken` is this many times as likely (above
  // a split of 50 more, as above; in the k-th excursion by 1 + ln k more).
  static constexpr uint64_t kBrokenAttempts = 7;
  static constexpr double kBrokenEvidence = 128;
  // Blue is silent: no attempt of it since the excursion began, for so long and
  // beside so many of green's that it has a chance of at most e^-kBlueSilenceLog.
  static constexpr uint64_t kBlueSilenceMs = 5000;
  static constexpr double kBlueSilenceLog = 9.2;
  // A green that fails more than this is never taken for normal.
  static constexpr double kMostPresumed = 0.2;

  TripBreaker(std::string service, const conf::Trip& settings);
  TripBreaker(const TripBreaker&) = delete;
  TripBreaker& operator=(const TripBreaker&) = delete;

  // A reload's new settings; latches and evidence stay.
  void configure(const conf::Trip& settings);

  // Every change of the split begins a step: the baseline is frozen and the
  // evidence starts anew. While tripped only the history notes it.
  void begin_step(conf::BasisPoints split, uint64_t now_ms);

  // Ok attempts since the last call, of both colours, that the lot placed at the
  // split of this step. To be called before each add_error with what the counters
  // have then, and now and then without one.
  const Verdict& add_oks(uint64_t blue, uint64_t green, uint64_t now_ms);
  // The same of those that something else placed: an override, a retry, a rescue,
  // the latch, the split before. They say how often each colour fails, but
  // nothing of green beside blue.
  const Verdict& add_other_oks(uint64_t blue, uint64_t green, uint64_t now_ms);
  // An outcome that [trip] `on` does not list counts as ok.
  const Verdict& add_error(const FailedAttempt& attempt, uint64_t now_ms);
  // A small sample of all attempts, this one of `every`; see Influence.
  void sample_traffic(const Origin& client, const Origin& path, uint64_t every) {
    traffic_.sample(client, path, every);
  }

  const Verdict& green_has_no_endpoint(uint64_t now_ms);

  BlueKnown blue_known() const { return {baseline_.known_attempts(), baseline_.known_errors()}; }
  // What was known before a restart; the step may have begun already.
  void recall_blue(const BlueKnown& known, uint64_t now_ms);

  // The operator's commands. Refused: a trip of what is tripped, a reset of
  // what is not. After a reset the split must be told by begin_step.
  conf::Status trip_by_hand(std::string_view reason, uint64_t now_ms);
  conf::Status reset();
  // A trip that the journal remembers.
  void restore(Evidence evidence);

  const Verdict& verdict() const { return verdict_; }
  bool tripped() const { return verdict_.tripped(); }
  TripStatus status() const;
  // As of the trip while tripped, else as of now.
  Evidence evidence() const { return tripped() ? evidence_ : compose_evidence(); }

 private:
  bool judging() const { return settings_.enabled && split_ > 0 && !tripped(); }
  bool comparing() const { return split_ < conf::kFullSplit; }
  // What is normal: blue's rate, or where that is not known, what may pass for it.
  const Baseline& normal() const { return baseline_.frozen() ? baseline_ : own_baseline_; }
  void count_oks(uint64_t blue, uint64_t green, uint64_t now_ms);
  void note_share(uint64_t blue, uint64_t green);
  void compare_oks(uint64_t blue, uint64_t green);
  void learn_green(uint64_t oks, uint64_t errors, uint64_t now_ms);
  void presume_normal();
  void adopt_baseline();
  void clear_detectors();
  void clear_rise();
  void begin_excursion_if_at_rest(uint64_t now_ms);
  void add_to_rise(conf::Colour colour);
  void note_suspicion();
  void expect_next();
  void learn_blue(uint64_t oks, uint64_t errors, uint64_t now_ms, bool held = false);
  Influence::Admission judge_error(const FailedAttempt& attempt, uint64_t now_ms);
  void note_error(const FailedAttempt& attempt, uint64_t now_ms);

  const Verdict& judge(uint64_t now_ms);
  Verdict judge_ceiling(uint64_t now_ms) const;
  Verdict judge_comparison() const;
  Verdict judge_rise(uint64_t now_ms) const;
  bool blue_is_silent(uint64_t now_ms) const;
  double rise_threshold() const;
  double caution() const;
  double recent_threshold() const;
  double only_green() const;
  double least_only_green() const;
  double only_green_threshold() const;
  bool green_worse_recently() const;
  void trip(Verdict verdict, uint64_t now_ms);

  Evidence compose_evidence() const;
  DetectorSample sample(uint64_t now_ms) const;
  void keep_sample(uint64_t now_ms);
  uint64_t last_sample_ms() const;
  std::string rates_text() const;

  const std::string service_;
  conf::Trip settings_;
  conf::BasisPoints split_ = 0;
  Verdict verdict_;

  Baseline baseline_;
  Baseline own_baseline_;  // presumed, and at split 100 green's own
  GreenShare share_;
  double blue_attempts_ = 0;  // decayed; blue's recent rate for EProcess
  double blue_errors_ = 0;

  // A; alone, or once the baseline is frozen.
  Cusum green_rise_{0};
  Cusum blue_rise_{0};
  Cusum uncapped_rise_{0};  // of green, as if Influence admitted everything
  // What has happened since green's rise left rest.
  struct Excursion {
    uint64_t began_ms = 0;
    uint64_t green_oks = 0;
    uint64_t green_errors = 0;
    uint64_t blue_oks = 0;
    uint64_t blue_errors = 0;
    // What the lot placed, by conf::Colour, but for errors that are held back for their
    // client and the one with which green left rest, which is green's by that choice.
    std::array<Tally, 2> by_lot;
    bool suspicious = false;  // green's rise has reached rise_threshold()
    uint64_t blue() const { return blue_oks + blue_errors; }
    uint64_t green() const { return green_oks + green_errors; }
  } excursion_;
  uint64_t excursions_ = 0;             // of this step
  uint64_t suspicious_excursions_ = 0;  // of those
  // Since the excursion began. It is asked only where green has failed as well.
  static constexpr double kRecentHeadStart = 30;
  PacedEProcess recent_;
  bool green_begun_ = false;  // something of green has ended in this step
  // B.
  static constexpr double kComparisonHeadStart = 4;
  PacedEProcess comparison_;
  ErrorWindow window_;

  Traffic traffic_;
  Influence recent_influence_{traffic_};
  Influence comparison_influence_{traffic_};

  // Grows with each error and is complete once tripped. Until then what the
  // tables below and the detectors hold is added by compose_evidence().
  Evidence evidence_;  // without the samples, until a trip
  SampleHistory history_;
  HeavyHitters endpoints_{16};
  HeavyHitters clients_{16};
  HeavyHitters paths_{16};
};

}  // namespace sluice::balancer
