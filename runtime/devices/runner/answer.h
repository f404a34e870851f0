// What the program prints: the Answer of runtime/profile/measure/job.py, one line of JSON.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

inline std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const unsigned char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 0x20) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", c);
      out += code;
    } else {
      out += static_cast<char>(c);
    }
  }
  return out + '"';
}

inline std::string written(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.17g", value);
  return text;
}

// RFC 4648, with padding; the machine is taken to be little-endian, as all that run this are.
inline std::string base64(const std::vector<float>& values) {
  static const char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
  const size_t size = values.size() * sizeof(float);
  std::string out;
  out.reserve((size + 2) / 3 * 4);
  for (size_t at = 0; at < size; at += 3) {
    const size_t left = size - at;
    const uint32_t three = uint32_t{bytes[at]} << 16 |
                           (left > 1 ? uint32_t{bytes[at + 1]} << 8 : 0) |
                           (left > 2 ? uint32_t{bytes[at + 2]} : 0);
    out += kDigits[three >> 18];
    out += kDigits[three >> 12 & 63];
    out += left > 1 ? kDigits[three >> 6 & 63] : '=';
    out += left > 2 ? kDigits[three & 63] : '=';
  }
  return out;
}

struct Output {
  std::string name;
  std::vector<int64_t> dims;
  std::vector<float> values;
};

struct Answer {
  std::string runtime;
  std::map<std::string, double> figures;
  std::vector<Output> outputs;
  std::vector<std::pair<double, std::string>> marks;

  // Seconds of the clock that Python calls monotonic.
  void mark(const std::string& stage) {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    marks.emplace_back(std::chrono::duration<double>(now).count(), stage);
  }

  std::string json() const {
    std::string out = "{\"runtime\": " + quoted(runtime) + ", \"figures\": {";
    const char* comma = "";
    for (const auto& [name, value] : figures) {
      out += comma + quoted(name) + ": " + written(value);
      comma = ", ";
    }
    out += "}, \"outputs\": {";
    comma = "";
    for (const Output& one : outputs) {
      out += comma + quoted(one.name) + ": {\"dims\": [";
      for (size_t i = 0; i < one.dims.size(); ++i) {
        out += (i ? ", " : "") + std::to_string(one.dims[i]);
      }
      out += "], \"data\": \"" + base64(one.values) + "\"}";
      comma = ", ";
    }
    out += "}, \"marks\": [";
    comma = "";
    for (const auto& [at, stage] : marks) {
      out += comma + ("[" + written(at) + ", " + quoted(stage) + "]");
      comma = ", ";
    }
    return out + "]}";
  }
};
