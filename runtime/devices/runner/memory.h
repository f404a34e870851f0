// How much memory this process holds, from Linux' /proc; Android has the same.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <vector>

// Bytes, by the names of the figures: rss, uss, pss, anonymous, mapped, library. Empty where the
// system does not tell. «mapped» are pages of `files`, absolute paths, as they lie on disk;
// «library» those of every other file. Walks the page tables: /proc/self/status lags behind.
inline std::map<std::string, int64_t> held(const std::vector<std::string>& files) {
  std::ifstream smaps("/proc/self/smaps");
  std::map<std::string, int64_t> sum;
  int64_t mapped = 0;
  bool ours = false;
  for (std::string line; std::getline(smaps, line);) {
    const auto colon = line.find(": ");
    const auto dash = line.find('-');
    const auto space = line.find(' ');
    if (dash != std::string::npos && dash < space) {  // the head of a mapping: range, rights, path
      const auto slash = line.find('/');
      ours = false;
      for (const std::string& file : files) {
        ours = ours || (slash != std::string::npos && line.compare(slash, line.npos, file) == 0);
      }
    } else if (colon != std::string::npos && line.size() > 3 &&
               line.compare(line.size() - 3, 3, " kB") == 0) {
      const std::string name = line.substr(0, line.find(':'));
      const int64_t size = 1024 * std::strtoll(line.c_str() + colon + 1, nullptr, 10);
      sum[name] += size;
      if (ours && name == "Rss") mapped += size;
      if (ours && name == "Anonymous") mapped -= size;  // written to, so no longer the file's
    }
  }
  if (!sum.count("Rss")) return {};
  std::map<std::string, int64_t> found{{"rss", sum["Rss"]}};
  if (sum.count("Pss")) found["pss"] = sum["Pss"];
  if (sum.count("Private_Dirty")) found["uss"] = sum["Private_Clean"] + sum["Private_Dirty"];
  if (sum.count("Anonymous")) {
    found["anonymous"] = sum["Anonymous"];
    found["mapped"] = mapped;
    found["library"] = sum["Rss"] - sum["Anonymous"] - mapped;
  }
  return found;
}

// The most bytes of RSS since reset_peak(); -1 where the system does not tell.
inline int64_t peak() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.compare(0, 6, "VmHWM:") == 0) {
      return 1024 * std::strtoll(line.c_str() + 6, nullptr, 10);
    }
  }
  return -1;
}

// False where it is not permitted: the peak then counts from the start of the process.
inline bool reset_peak() {
  std::ofstream clear("/proc/self/clear_refs");
  clear << 5 << std::flush;
  return clear.good();
}
