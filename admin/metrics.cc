#include "admin/metrics.h"

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <utility>

#include "admin/totals.h"
#include "proxy/tls_context.h"
#include "proxy/tls_store.h"

namespace sluice::admin {
namespace {

using balancer::Cap;
using balancer::HistogramBuckets;
using balancer::HistogramSnapshot;
using conf::Colour;
using proxy::ServiceEntry;
using Type = MetricFamily::Type;

// For each bucket the latest that fell into it.
std::vector<BucketExemplar> exemplars_of(const proxy::Exemplars& known) {
  std::vector<BucketExemplar> result;
  const auto add = [&](uint64_t low_us, uint64_t high_us) {
    const proxy::Exemplar* const one = known.latest(low_us, high_us);
    result.push_back(one == nullptr
                         ? BucketExemplar{}
                         : BucketExemplar{one->request_id, static_cast<double>(one->duration_us) / 1e6,
                                          static_cast<double>(one->at_us) / 1e6});
  };
  uint64_t low_us = 0;
  for (const uint64_t bound_ns : kBucketBoundsNs) {
    add(low_us, bound_ns / 1000);
    low_us = bound_ns / 1000;
  }
  add(low_us, std::numeric_limits<uint64_t>::max());
  return result;
}

// Families of upstreams, in the order in which they are told. They are filled
// side by side, so that each upstream is summed only once.
class UpstreamFamilies {
 public:
  void add(const ServiceEntry& entry, Colour colour, const std::vector<std::string>& unresolved) {
    balancer::UpstreamState& state = *entry.upstreams[static_cast<size_t>(colour)];
    const Labels labels{{"service", state.service()}, {"upstream", conf::to_string(colour)}};
    add_counters(totals_of(state), labels);
    const Cap& cap = *state.connections();
    add(connections_, labels, cap.used());
    add(max_connections_, labels,
        cap.max() == Cap::kUnlimited ? std::numeric_limits<double>::infinity() : cap.max());
    add(peak_connections_, labels, cap.peak());
    add(queue_depth_, labels, state.queued().load(std::memory_order_relaxed));
    for (auto& [family, member] : histograms_) {
      const auto sum = std::make_unique<HistogramSnapshot>();
      for (uint32_t worker = 0; worker < state.workers(); ++worker)
        (state.stats(worker).*member).add_to(*sum);
      family.samples.push_back({labels, 0, bucket_counts(*sum)});
      if (member == &balancer::UpstreamStats::request_duration) {
        family.samples.back().exemplars = exemplars_of(entry.exemplars[static_cast<size_t>(colour)]);
      }
    }
    for (const balancer::EndpointPlan& one : entry.endpoints[static_cast<size_t>(colour)]) {
      Labels more = labels;
      more.emplace_back("endpoint", one.state->name());
      add(endpoint_up_, more, one.state->condition().usable() ? 1 : 0);
    }
    for (const std::string& endpoint : unresolved) {
      Labels more = labels;
      more.emplace_back("endpoint", endpoint);
      add(endpoint_up_, more, 0);
    }
  }

  void move_to(std::vector<MetricFamily>& families) {
    for (MetricFamily* const family :
         {&requests_, &attempts_, &rejected_, &retries_, &rescues_, &aborted_, &bytes_up_, &bytes_down_}) {
      families.push_back(std::move(*family));
    }
    for (auto& [family, member] : histograms_) families.push_back(std::move(family));
    for (MetricFamily* const family :
         {&connections_, &max_connections_, &peak_connections_, &queue_depth_, &endpoint_up_}) {
      families.push_back(std::move(*family));
    }
  }

 private:
  static void add(MetricFamily& family, const Labels& labels, double value) {
    family.samples.push_back({labels, value, {}});
  }
  static void add(MetricFamily& family, const Labels& labels, const char* label, const std::string& text,
                  uint64_t count) {
    Labels more = labels;
    more.emplace_back(label, text);
    family.samples.push_back({std::move(more), static_cast<double>(count), {}});
  }

  void add_counters(const Totals& totals, const Labels& labels) {
    for (size_t code = 0; code < totals.responses.size(); ++code) {
      if (totals.responses[code] != 0)
        add(requests_, labels, "code", std::to_string(code), totals.responses[code]);
    }
    for (size_t i = 0; i < balancer::kOutcomes; ++i) {
      add(attempts_, labels, "outcome", to_string(static_cast<balancer::Outcome>(i)), totals.attempts[i]);
    }
    for (size_t i = 0; i < balancer::kRefusals; ++i) {
      add(rejected_, labels, "reason", to_string(static_cast<balancer::Refusal>(i)), totals.refusals[i]);
    }
    add(retries_, labels, static_cast<double>(totals.retries));
    add(rescues_, labels, static_cast<double>(totals.rescues));
    add(aborted_, labels, static_cast<double>(totals.aborted));
    add(bytes_up_, labels, static_cast<double>(totals.bytes_up));
    add(bytes_down_, labels, static_cast<double>(totals.bytes_down));
  }

  MetricFamily requests_{"sluice_requests_total", "Answers to clients, by status.", Type::counter, {}};
  MetricFamily attempts_{
      "sluice_attempts_total", "Tries of requests at endpoints, by how they ended.", Type::counter, {}};
  MetricFamily rejected_{
      "sluice_rejected_total", "Requests that the proxy itself refused, by reason.", Type::counter, {}};
  MetricFamily retries_{"sluice_retries_total", "Attempts after the first of a request.", Type::counter, {}};
  MetricFamily rescues_{
      "sluice_rescues_total", "Requests that failed on green and were replayed to blue.", Type::counter, {}};
  MetricFamily aborted_{
      "sluice_aborted_total", "Clients that left before their answer was complete.", Type::counter, {}};
  MetricFamily bytes_up_{
      "sluice_sent_bytes_total", "Octets of request bodies sent to the upstream.", Type::counter, {}};
  MetricFamily bytes_down_{
      "sluice_received_bytes_total", "Octets of response bodies passed to clients.", Type::counter, {}};
  MetricFamily connections_{
      "sluice_upstream_connections", "Connections to the upstream, idle ones too.", Type::gauge, {}};
  MetricFamily max_connections_{"sluice_upstream_max_connections",
                                "The most connections the upstream may have; +Inf without a limit.",
                                Type::gauge,
                                {}};
  MetricFamily peak_connections_{
      "sluice_upstream_peak_connections", "The most connections there ever were at once.", Type::gauge, {}};
  MetricFamily queue_depth_{
      "sluice_upstream_queue_depth", "Requests waiting for a connection.", Type::gauge, {}};
  MetricFamily endpoint_up_{
      "sluice_endpoint_up", "1 when new requests may go to the endpoint.", Type::gauge, {}};

  struct OfHistogram {
    MetricFamily family;
    balancer::Histogram balancer::UpstreamStats::*member;
  };
  OfHistogram histograms_[5] = {
      {{"sluice_request_duration_seconds",
        "From a request's head to the end of its answer.",
        Type::histogram,
        {}},
       &balancer::UpstreamStats::request_duration},
      {{"sluice_upstream_duration_seconds",
        "From an attempt's begin to the answer's last octet.",
        Type::histogram,
        {}},
       &balancer::UpstreamStats::upstream_duration},
      {{"sluice_connect_duration_seconds", "How long connecting to an endpoint took.", Type::histogram, {}},
       &balancer::UpstreamStats::connect_duration},
      {{"sluice_first_byte_duration_seconds",
        "From an attempt's begin to the answer's head.",
        Type::histogram,
        {}},
       &balancer::UpstreamStats::first_byte_duration},
      {{"sluice_queue_duration_seconds", "How long requests waited for a connection.", Type::histogram, {}},
       &balancer::UpstreamStats::queue_duration}};
};

MetricFamily single(const char* name, const char* help, double value, Labels labels = {}) {
  return {name, help, Type::gauge, {{std::move(labels), value, {}}}};
}

void collect_process(const proxy::Control& control, std::vector<MetricFamily>& families) {
  families.push_back(single("sluice_build_info", "Always 1; the label says which version runs.", 1,
                            {{"version", control.version()}}));
  families.push_back(single("sluice_start_time_seconds", "When the process started, since the epoch.",
                            static_cast<double>(control.started_wall_us()) / 1e6));
  families.push_back(single("sluice_ready", "1 when every service can be served.", control.ready() ? 1 : 0));
  families.push_back(single("sluice_workers", "Worker threads.", control.worker_count()));
  families.push_back(
      single("sluice_downstream_connections", "Connections from clients.", control.client_connections()));
  families.push_back(
      single("sluice_queued", "Requests waiting for a connection, in the whole process.", control.queued()));
  MetricFamily unrouted{
      "sluice_unrouted_total", "Requests that led to no service, by the status they got.", Type::counter, {}};
  for (uint16_t status = 400; status < balancer::UpstreamCounters::kCodes; ++status) {
    const uint64_t count = control.unrouted(status);
    if (count == 0) continue;
    unrouted.samples.push_back({{{"code", std::to_string(status)}}, static_cast<double>(count), {}});
  }
  families.push_back(std::move(unrouted));
  const proxy::Control::Shed shed = control.shed();
  families.push_back({"sluice_shed_total",
                      "What [overload] has refused, by the key that it was too much for.",
                      Type::counter,
                      {{{{"reason", "max_connections"}}, static_cast<double>(shed.connections), {}},
                       {{{"reason", "max_queued"}}, static_cast<double>(shed.requests), {}}}});
  const proxy::AccessLog::Stats lines = control.access_log().stats();
  families.push_back(
      {"sluice_access_log_lines_total",
       "Lines of the access log: written, dropped because its disk or reader is slow, lost to errors.",
       Type::counter,
       {{{{"outcome", "written"}}, static_cast<double>(lines.written), {}},
        {{{"outcome", "dropped"}}, static_cast<double>(lines.dropped), {}},
        {{{"outcome", "lost"}}, static_cast<double>(lines.lost), {}}}});
  const proxy::TraceExporter::Stats spans = control.traces().stats();
  families.push_back({"sluice_spans_total",
                      "Spans of traces, by whether the collector took them.",
                      Type::counter,
                      {{{{"outcome", "sent"}}, static_cast<double>(spans.sent), {}},
                       {{{"outcome", "dropped"}}, static_cast<double>(spans.dropped), {}}}});
  families.push_back(
      {"sluice_notes_dropped_total",
       "Failed attempts, samples and exemplars that were left out since too many waited to be looked at.",
       Type::counter,
       {{{}, static_cast<double>(control.notes_dropped()), {}}}});
}

void collect_services(proxy::Control& control, std::vector<MetricFamily>& families) {
  MetricFamily split{"sluice_split", "Green's share of the requests, in percent.", Type::gauge, {}};
  MetricFamily generation{
      "sluice_split_generation", "How many times the split has changed.", Type::gauge, {}};
  MetricFamily tripped{"sluice_tripped", "1 while the service is tripped.", Type::gauge, {}};
  MetricFamily maintenance{"sluice_maintenance", "1 while the service is in maintenance.", Type::gauge, {}};
  for (const auto& [name, entry] : control.registry().services()) {
    const Labels labels{{"service", name}};
    const balancer::Split::Value value = entry.state->split().get();
    split.samples.push_back({labels, value.green / 100.0, {}});
    generation.samples.push_back({labels, static_cast<double>(value.generation), {}});
    tripped.samples.push_back({labels, entry.state->tripped() ? 1.0 : 0.0, {}});
    maintenance.samples.push_back({labels, entry.state->maintenance() ? 1.0 : 0.0, {}});
  }
  MetricFamily trips{"sluice_trips_total", "Trips, by what led to them.", Type::counter, {}};
  const auto& counted = control.judge().trips();
  for (const auto& [name, entry] : control.registry().services()) {
    for (const balancer::Detector reason : balancer::kReasonsToTrip) {
      // Also those that never were, so that the first is an increase.
      const auto found = counted.find({name, reason});
      trips.samples.push_back({{{"service", name}, {"reason", to_string(reason)}},
                               found == counted.end() ? 0.0 : static_cast<double>(found->second),
                               {}});
    }
  }
  for (MetricFamily* const family : {&split, &generation, &tripped, &trips, &maintenance}) {
    families.push_back(std::move(*family));
  }
}

// Whether it waits for more than time: a hold that is under way is as planned,
// and a return takes no more than twice what the plan says.
bool is_held(const balancer::Rollout& rollout) {
  switch (rollout.state()) {
    case balancer::RolloutState::preflight:
    case balancer::RolloutState::paused:
      return true;
    case balancer::RolloutState::holding:
      return rollout.evidence().held_ms >= rollout.plan().hold_ms;
    default:
      return false;
  }
}

void collect_rollouts(const proxy::Control& control, std::vector<MetricFamily>& families) {
  MetricFamily step{
      "sluice_rollout_step", "The step of the rollout, from 1; 0: none is under way.", Type::gauge, {}};
  MetricFamily held{
      "sluice_rollout_held",
      "1 while the rollout is in its pre-flight, paused, or at a step that it has held for its time.",
      Type::gauge,
      {}};
  for (const auto& [name, entry] : control.registry().services()) {
    const balancer::Rollout* const rollout = control.rollouts().find(name);
    const size_t at = rollout == nullptr ? 0 : rollout->step_entered();
    step.samples.push_back({{{"service", name}}, static_cast<double>(at), {}});
    const bool waits = rollout != nullptr && is_held(*rollout);
    held.samples.push_back({{{"service", name}}, waits ? 1.0 : 0.0, {}});
  }
  MetricFamily frozen{"sluice_frozen", "1 while no split may rise.", Type::gauge, {}};
  frozen.samples.push_back({{}, control.freeze().on ? 1.0 : 0.0, {}});
  MetricFamily saved{"sluice_state_saved",
                     "1 while state_dir has all that is to be kept, or there is none.",
                     Type::gauge,
                     {}};
  saved.samples.push_back({{}, control.unsaved().empty() ? 1.0 : 0.0, {}});
  families.push_back(std::move(step));
  families.push_back(std::move(held));
  families.push_back(std::move(frozen));
  families.push_back(std::move(saved));
}

void collect_panic(const proxy::Control& control, std::vector<MetricFamily>& families) {
  MetricFamily panic{"sluice_upstream_panic",
                     "1 while too few endpoints are in service and all that ever were get requests.",
                     Type::gauge,
                     {}};
  for (const auto& [name, entry] : control.registry().services()) {
    for (const conf::Colour colour : conf::kColours) {
      if (colour == conf::Colour::green && !control.service_conf(name).has_green) continue;
      panic.samples.push_back({{{"service", name}, {"upstream", conf::to_string(colour)}},
                               control.health().in_panic(name, colour) ? 1.0 : 0.0,
                               {}});
    }
  }
  families.push_back(std::move(panic));
}

void collect_caps(const proxy::Registry& registry, std::vector<MetricFamily>& families) {
  MetricFamily utilization{
      "sluice_cap_utilization", "The used share of a shared budget, 0 to 1.", Type::gauge, {}};
  MetricFamily used{"sluice_cap_connections", "Connections under a shared budget.", Type::gauge, {}};
  MetricFamily max{
      "sluice_cap_max_connections", "The most connections under a shared budget.", Type::gauge, {}};
  for (const auto& [name, cap] : registry.caps()) {
    const Labels labels{{"cap", name}};
    const double limit = cap->max();
    utilization.samples.push_back({labels, limit == 0 ? 0 : cap->used() / limit, {}});
    used.samples.push_back({labels, static_cast<double>(cap->used()), {}});
    max.samples.push_back({labels, limit, {}});
  }
  for (MetricFamily* const family : {&utilization, &used, &max}) families.push_back(std::move(*family));
}

void collect_tls(const proxy::TlsStore& tls, std::vector<MetricFamily>& families) {
  MetricFamily expiry{"sluice_certificate_expiry_seconds",
                      "Until a certificate of ours expires; below 0 when it has.",
                      Type::gauge,
                      {}};
  const auto now_s = static_cast<double>(proxy::Loop::wall_clock_us()) / 1e6;
  // A listener may use a file in two pairs, and listeners whose port the kernel
  // chooses have one name: a series is told once, for what expires first.
  std::map<std::pair<std::string, std::string>, int64_t> ends_s;
  for (const proxy::TlsStore::Shown& one : tls.certificates()) {
    const int64_t end_s = one.info->not_after_s;
    const auto [known, is_new] = ends_s.try_emplace({one.user, one.info->file}, end_s);
    known->second = std::min(known->second, end_s);
  }
  for (const auto& [shown, end_s] : ends_s) {
    expiry.samples.push_back(
        {{{"user", shown.first}, {"file", shown.second}}, static_cast<double>(end_s) - now_s, {}});
  }
  MetricFamily handshakes{
      "sluice_tls_handshakes_total", "Handshakes of clients, by how they ended.", Type::counter, {}};
  MetricFamily in_progress{
      "sluice_tls_handshakes_in_progress", "Handshakes of clients under way.", Type::gauge, {}};
  for (const proxy::TlsStore::Counted& one : tls.counters()) {
    for (size_t i = 0; i < one.counters->ended.size(); ++i) {
      handshakes.samples.push_back(
          {{{"listener", one.listener}, {"outcome", proxy::TlsCounters::kNames[i]}},
           static_cast<double>(one.counters->ended[i].load(std::memory_order_relaxed)),
           {}});
    }
    in_progress.samples.push_back(
        {{{"listener", one.listener}},
         static_cast<double>(one.counters->in_progress.load(std::memory_order_relaxed)),
         {}});
  }
  for (MetricFamily* const family : {&expiry, &handshakes, &in_progress})
    families.push_back(std::move(*family));
}

}  // namespace

BucketCounts bucket_counts(const HistogramSnapshot& snapshot) {
  BucketCounts result;
  uint64_t so_far = 0;
  size_t index = 0;
  for (const uint64_t bound : kBucketBoundsNs) {
    while (index < HistogramBuckets::kCount && HistogramBuckets::middle_ns(index) <= bound) {
      so_far += snapshot.bucket(index++);
    }
    result.at_most.push_back(so_far);
  }
  result.count = snapshot.count();
  result.sum_s = snapshot.sum_ns() / 1e9;
  return result;
}

std::vector<MetricFamily> collect(proxy::Control& control) {
  std::vector<MetricFamily> families;
  collect_process(control, families);
  collect_services(control, families);
  UpstreamFamilies upstreams;
  for (const auto& [name, entry] : control.registry().services()) {
    upstreams.add(entry, Colour::blue, control.unresolved(name, Colour::blue));
    if (control.service_conf(name).has_green) {
      upstreams.add(entry, Colour::green, control.unresolved(name, Colour::green));
    }
  }
  upstreams.move_to(families);
  collect_rollouts(control, families);
  collect_panic(control, families);
  collect_caps(control.registry(), families);
  collect_tls(control.tls(), families);
  return families;
}

}  // namespace sluice::admin
