// What the program is told: lines «key=value», as runtime/devices/runner/job_file.py writes them.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

struct Job {
  std::string measure, model, ids_input, library;
  std::string provider;  // onnxruntime's short name, as XNNPACK; empty for the CPU
  std::string load = "path";
  std::vector<std::string> data;  // external data files, in the model's folder
  std::vector<std::pair<std::string, std::string>> settings;
  std::vector<std::pair<std::string, int64_t>> dimensions;
  std::vector<std::pair<int64_t, int64_t>> grid;  // texts, tokens
  std::vector<std::vector<int64_t>> ids;
  std::vector<int64_t> stream;
  int64_t rows = 0, runs = 1, warmup = 0, threads = 1, seed = 0;

  std::string folder() const {
    const auto slash = model.rfind('/');
    return slash == std::string::npos ? "" : model.substr(0, slash + 1);
  }
};

inline std::pair<std::string, std::string> cut(const std::string& text, char at) {
  const auto place = text.find(at);
  if (place == std::string::npos) {
    throw std::runtime_error("'" + text + "' has no '" + at + "'; write the job file again");
  }
  return {text.substr(0, place), text.substr(place + 1)};
}

inline int64_t number(const std::string& text) {
  size_t read = 0;
  int64_t value = 0;
  try {
    value = std::stoll(text, &read);
  } catch (const std::logic_error&) {
  }
  if (read == 0 || read != text.size()) {
    throw std::runtime_error("'" + text + "' is no whole number; write the job file again");
  }
  return value;
}

inline std::vector<int64_t> numbers(const std::string& text) {
  std::istringstream words(text);
  std::vector<int64_t> found;
  for (std::string word; words >> word;) found.push_back(number(word));
  return found;
}

inline void take(Job& job, const std::string& key, const std::string& value) {
  if (key == "measure") {
    job.measure = value;
  } else if (key == "model") {
    job.model = value;
  } else if (key == "provider") {
    job.provider = value;
  } else if (key == "library") {
    job.library = value;
  } else if (key == "load") {
    job.load = value;
  } else if (key == "ids_input") {
    job.ids_input = value;
  } else if (key == "rows") {
    job.rows = number(value);
  } else if (key == "runs") {
    job.runs = number(value);
  } else if (key == "warmup") {
    job.warmup = number(value);
  } else if (key == "threads") {
    job.threads = number(value);
  } else if (key == "seed") {
    job.seed = number(value);
  } else if (key == "data") {
    job.data.push_back(value);
  } else if (key == "setting") {
    job.settings.push_back(cut(value, '='));
  } else if (key == "dimension") {
    const auto [name, size] = cut(value, '=');
    job.dimensions.emplace_back(name, number(size));
  } else if (key == "grid") {
    const auto [texts, tokens] = cut(value, 'x');
    job.grid.emplace_back(number(texts), number(tokens));
  } else if (key == "ids") {
    job.ids.push_back(numbers(value));
  } else if (key == "stream") {
    job.stream = numbers(value);
  } else {
    throw std::runtime_error("key '" + key + "' is unknown; build the runner of this version");
  }
}

inline Job read_job(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path + " cannot be read; give a job file");
  Job job;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    const auto [key, value] = cut(line, '=');
    take(job, key, value);
  }
  if (job.model.empty() || job.measure.empty() || job.grid.empty()) {
    throw std::runtime_error(path + " lacks measure, model or grid; write the job file again");
  }
  // Absolute, as the system names the files that a process maps; the file's own links stay, for
  // its data lies beside them.
  const std::string folder = job.folder();
  if (char* const whole = realpath(folder.empty() ? "." : folder.c_str(), nullptr)) {
    job.model = std::string(whole) + "/" + job.model.substr(folder.size());
    std::free(whole);
  }
  return job;
}
