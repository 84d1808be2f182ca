// SPDX-License-Identifier: MIT
#include "ledger/writer_name.h"

#include <set>

#include "tests/support/catch.h"

using namespace allot;

TEST_CASE("a driver's file is known by its name") {
  CHECK(driver_writer_name(12) == "driver-12");
  CHECK(is_driver_writer("driver-1"));
  CHECK(is_driver_writer(driver_writer_name(UINT64_MAX)));
  for (const char* name :
       {"driver", "driver-", "driver-x", "driver-1-0", "host.driver-1", "driver-1.new", "node-1", ""}) {
    CHECK_FALSE(is_driver_writer(name));
  }
}

TEST_CASE("no host's files can be taken for a driver's, and no two hosts share one") {
  CHECK(slot_writer_name("node7", 3) == "node7-3");
  CHECK(slot_writer_name("driver", 1) == "host.driver-1");
  CHECK(slot_writer_name("driver-3", 0) == "host.driver-3-0");
  CHECK(slot_writer_name("host.example", 0) == "host.example-0");
  std::set<std::string> names;
  const char* hosts[] = {"driver",   "host.driver", "host.host.driver", "driver-1", "host.driver-1",
                         "driver-x", "driver1",     "host.x",           "x"};
  CHECK(host_of_slot_writer("node-7-12") == "node-7");
  for (const char* host : hosts) {
    CHECK_FALSE(is_driver_writer(slot_writer_name(host, 1)));
    CHECK(names.insert(slot_writer_name(host, 1)).second);
    CHECK(host_of_slot_writer(slot_writer_name(host, 1)) == host);
  }
}
