#include "proxy/byte_queue.h"

#include <catch2/catch.hpp>
#include <string>

#include "balancer/random.h"

using namespace sluice;
using proxy::ByteQueue;

namespace {

std::string text(ByteQueue& queue) {
  return {queue.view().data, queue.view().size};
}

}  // namespace

TEST_CASE("byte_queue: what is kept stays in order when more comes") {
  ByteQueue queue;
  CHECK(queue.empty());
  queue.append("hello", 5);
  queue.keep_last(2);
  CHECK(text(queue) == "lo");
  queue.append(" world", 6);
  CHECK(text(queue) == "lo world");
  queue.keep_last(8);
  CHECK(text(queue) == "lo world");
  queue.keep_last(0);
  CHECK(queue.empty());
  queue.append("again", 5);
  CHECK(text(queue) == "again");
  queue.clear();
  CHECK(queue.size() == 0);
}

TEST_CASE("byte_queue: random histories agree with a string") {
  balancer::Random random(7);
  ByteQueue queue;
  std::string model;
  for (int step = 0; step < 5000; ++step) {
    CAPTURE(step);
    if (random.below(2) == 0) {
      const std::string more(random.below(50), static_cast<char>('a' + random.below(26)));
      queue.append(more.data(), more.size());
      model += more;
    } else {
      const size_t kept = random.below(model.size() + 1);
      queue.keep_last(kept);
      model.erase(0, model.size() - kept);
    }
    REQUIRE(queue.size() == model.size());
    REQUIRE(text(queue) == model);
  }
}
