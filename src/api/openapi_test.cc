// protocol/openapi.json and the routes are two accounts of one thing; here they are held together.
#include <fstream>
#include <gtest/gtest.h>
#include <set>
#include <sstream>
#include <string>

#include <boost/json.hpp>

#include "api/api.h"
#include "api/assets.h"

namespace defib::api {
namespace {

namespace json = boost::json;

json::object document() { return json::parse(std::string(asset("/openapi.json").body)).as_object(); }

// Beats and pings are served by ingest, whose tests walk them.
bool is_served_by_ingest(std::string_view path) { return path == "/v1/heartbeats" || path.starts_with("/ping/"); }

TEST(Openapi, EveryDescribedPathIsRoutedAndEveryRouteIsDescribed) {
  std::set<std::string> described;
  const json::object whole = document();
  for (const auto& [path, methods] : whole.at("paths").as_object()) {
    if (is_served_by_ingest(path)) continue;
    for (const auto& [method, operation] : methods.as_object()) {
      described.insert((method == "get" ? "GET " : "POST ") + std::string(path));
    }
  }
  std::set<std::string> routed;
  for (const Api::RouteName& route : Api::routes()) {
    routed.insert(std::string(route.method) + " " + std::string(route.pattern));
  }
  EXPECT_EQ(described, routed);
}

TEST(Openapi, BeatsAndPingsAreDescribed) {
  const json::object paths = document().at("paths").as_object();
  for (const char* path :
       {"/v1/heartbeats", "/ping/{id}", "/ping/{id}/start", "/ping/{id}/fail", "/ping/{id}/log", "/ping/{id}/{code}"}) {
    EXPECT_TRUE(paths.contains(path)) << path;
  }
}

void check_references(const json::value& value, const json::value& whole) {
  if (const json::object* object = value.if_object()) {
    for (const auto& [key, member] : *object) {
      if (key == "$ref") {
        const std::string pointer = std::string(member.as_string()).substr(1);
        boost::system::error_code code;
        EXPECT_NE(whole.find_pointer(pointer, code), nullptr) << pointer;
      } else {
        check_references(member, whole);
      }
    }
  } else if (const json::array* array = value.if_array()) {
    for (const json::value& item : *array) check_references(item, whole);
  }
}

TEST(Openapi, EveryReferenceLeadsSomewhere) {
  const json::value whole = document();
  check_references(whole, whole);
}

TEST(Openapi, EveryOperationSaysWhatItDoesAndHowItMayFail) {
  const json::object whole = document();
  for (const auto& [path, methods] : whole.at("paths").as_object()) {
    for (const auto& [method, operation] : methods.as_object()) {
      EXPECT_FALSE(operation.at("summary").as_string().empty()) << path;
      EXPECT_TRUE(operation.at("responses").as_object().contains("403")) << path;
    }
  }
}

TEST(Openapi, WhatIsServedIsTheFileOfTheRepository) {
  std::ifstream file(DEFIB_SOURCE_DIR "/protocol/openapi.json");
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), asset("/openapi.json").body);
}

}  // namespace
}  // namespace defib::api
