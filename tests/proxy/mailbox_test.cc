#include "proxy/mailbox.h"

#include <catch2/catch.hpp>

namespace sluice::proxy {
namespace {

struct Box {
  Loop loop{1};
  Mailbox mailbox{loop};

  ~Box() {
    mailbox.close();
    CHECK(loop.close() == 0);
  }
  // Until what has been posted is done.
  void run() {
    mailbox.post([this] { loop.stop(); });
    loop.run();
  }
};

TEST_CASE("mailbox: what is posted is done in its order, each once") {
  Box box;
  std::vector<int> done;
  for (int i = 0; i < 3; ++i) {
    box.mailbox.post([&done, i] { done.push_back(i); });
    box.mailbox.offer([&done, i] { done.push_back(10 + i); });
  }
  box.run();
  CHECK(done == std::vector<int>{0, 10, 1, 11, 2, 12});
  CHECK(box.mailbox.dropped() == 0);
}

TEST_CASE("mailbox: what can wait is done in its order, with what cannot or when somebody looks") {
  Box box;
  std::vector<int> done;
  box.mailbox.offer([&done] { done.push_back(0); }, Mailbox::When::at_look);
  box.mailbox.post([&done] { done.push_back(1); }, Mailbox::When::at_look);
  uv_run(box.loop.uv(), UV_RUN_NOWAIT);
  CHECK(done.empty());  // it woke nobody
  box.mailbox.look();
  CHECK(done == std::vector<int>{0, 1});
  box.mailbox.offer([&done] { done.push_back(2); }, Mailbox::When::at_look);
  box.mailbox.offer([&done] { done.push_back(3); });
  uv_run(box.loop.uv(), UV_RUN_NOWAIT);
  CHECK(done == std::vector<int>{0, 1, 2, 3});

  // Before the box is full nobody waits any more.
  size_t count = 0;
  for (size_t i = 0; i < Mailbox::kMostWaiting / 2; ++i) {
    CHECK(count == 0);
    box.mailbox.offer([&count] { ++count; }, Mailbox::When::at_look);
  }
  uv_run(box.loop.uv(), UV_RUN_NOWAIT);
  CHECK(count == Mailbox::kMostWaiting / 2);
}

TEST_CASE("mailbox: what is offered to a full box is dropped and counted, what is posted is not") {
  Box box;
  size_t offered = 0;
  for (size_t i = 0; i < Mailbox::kMostWaiting + 7; ++i) box.mailbox.offer([&offered] { ++offered; });
  bool posted = false;
  box.mailbox.post([&posted] { posted = true; });
  box.run();
  CHECK(offered == Mailbox::kMostWaiting);
  CHECK(posted);
  CHECK(box.mailbox.dropped() == 7);

  box.mailbox.offer([&offered] { ++offered; });
  box.run();
  CHECK(offered == Mailbox::kMostWaiting + 1);
  CHECK(box.mailbox.dropped() == 7);
}

}  // namespace
}  // namespace sluice::proxy
