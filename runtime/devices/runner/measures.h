// The measures of a job: values, time, cold, memory. runtime/profile/measure/worker does the same in Python.
#pragma once

#include <algorithm>
#include <chrono>
#include <numeric>
#include <string>
#include <vector>

#include "answer.h"
#include "feeds.h"
#include "memory.h"
#include "session.h"

constexpr int64_t kMostCalls = 20;  // a point, where memory is measured; it has settled by then

using Clock = std::chrono::steady_clock;

inline double seconds(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Calls a session, all outputs.
class Caller {
 public:
  Caller(Ort::Session& session, const Feeder& feeder) : session_(session), inputs_(feeder.names()) {
    Ort::AllocatorWithDefaultOptions allocator;
    for (size_t i = 0; i < session.GetOutputCount(); ++i) {
      names_.emplace_back(session.GetOutputNameAllocated(i, allocator).get());
    }
    for (const std::string& name : names_) outputs_.push_back(name.c_str());
  }

  std::vector<Ort::Value> operator()(const std::vector<Ort::Value>& feeds) {
    return session_.Run(Ort::RunOptions{nullptr}, inputs_.data(), feeds.data(), feeds.size(),
                        outputs_.data(), outputs_.size());
  }

  const std::vector<std::string>& names() const { return names_; }

 private:
  Ort::Session& session_;
  std::vector<std::string> names_;
  std::vector<const char*> inputs_, outputs_;
};

// As float32; false for what is no float. Not by GetTensorData, which is new in onnxruntime 1.23.
inline bool read_floats(Ort::Value& value, std::vector<float>& out) {
  const auto info = value.GetTensorTypeAndShapeInfo();
  const size_t count = info.GetElementCount();
  out.resize(count);
  switch (info.GetElementType()) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
      std::copy_n(value.GetTensorMutableData<float>(), count, out.begin());
      return true;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE:
      std::copy_n(value.GetTensorMutableData<double>(), count, out.begin());
      return true;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
      for (size_t i = 0; i < count; ++i) {
        out[i] = value.GetTensorMutableData<Ort::Float16_t>()[i].ToFloat();
      }
      return true;
    default:
      return false;
  }
}

inline void measure_values(Runtime& runtime, const Job& job, Answer& answer) {
  if (job.ids.empty()) throw std::runtime_error("the job has no ids; values need some");
  Ort::Session session = runtime.open(job);
  const Feeder feeder(session, job);
  Caller call(session, feeder);
  auto values = call(feeder.of(job.ids));
  for (size_t i = 0; i < values.size(); ++i) {
    Output output{call.names()[i], values[i].GetTensorTypeAndShapeInfo().GetShape(), {}};
    if (read_floats(values[i], output.values)) answer.outputs.push_back(std::move(output));
  }
}

// Between the sorted values' places, in straight lines, as numpy does by itself.
inline double percentile(const std::vector<double>& sorted, double share) {
  const double place = share / 100 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

inline void time_calls(Caller& call, Feeder& feeder, int64_t batch, int64_t length, const Job& job,
                       Answer& answer) {
  for (int64_t i = 0; i < job.warmup; ++i) call(feeder.next(batch, length));
  std::vector<double> taken;
  for (int64_t i = 0; i < job.runs; ++i) {
    const auto feeds = feeder.next(batch, length);
    const auto start = Clock::now();
    const auto values = call(feeds);
    taken.push_back(seconds(start));
  }
  const double all = std::accumulate(taken.begin(), taken.end(), 0.0);
  std::sort(taken.begin(), taken.end());
  const std::string at = std::to_string(batch) + "x" + std::to_string(length);
  for (const int share : {50, 95, 99}) {
    answer.figures["latency_" + at + "_p" + std::to_string(share) + "_ms"] =
        1e3 * percentile(taken, share);
  }
  answer.figures["throughput_" + at + "_tokens_s"] =
      static_cast<double>(batch * length * job.runs) / all;
}

// Load and first result; then, unless the files are to be `cold`, every point of the grid.
inline void measure_time(Runtime& runtime, const Job& job, Answer& answer, bool cold) {
  const std::string prefix = cold ? "cold_" : "";
  const auto start = Clock::now();
  Ort::Session session = runtime.open(job);
  const double loaded = seconds(start);
  Feeder feeder(session, job);
  Caller call(session, feeder);
  const auto feeds = feeder.next(job.grid[0].first, job.grid[0].second);
  const auto first = Clock::now();
  call(feeds);
  answer.figures[prefix + "first_result_ms"] = 1e3 * (loaded + seconds(first));
  answer.figures[prefix + "load_ms"] = 1e3 * loaded;
  if (cold) return;
  for (const auto& [batch, length] : job.grid) {
    time_calls(call, feeder, batch, length, job, answer);
  }
}

// What the process holds, stage by stage, above a session of an empty model.
inline void measure_memory(Runtime& runtime, const Job& job, Answer& answer) {
  using Held = std::map<std::string, int64_t>;
  std::vector<std::string> files{job.model};
  for (const std::string& name : job.data) files.push_back(job.folder() + name);
  const auto told = [&](const std::string& stage, const Held& before, const Held& now) {
    for (const auto& [kind, bytes] : now) {
      const auto old = before.find(kind);
      answer.figures[stage + "_" + kind + "_bytes"] =
          static_cast<double>(bytes - (old == before.end() ? 0 : old->second));
    }
  };
  const Ort::Session empty = runtime.open_empty(job);
  held(files);  // whatever this needs for it is there from now on
  const int64_t peak_until_now = peak();
  reset_peak();
  const Held before = held(files);
  told("before", {}, before);
  const auto peak_above = [&] {
    return static_cast<double>(std::max<int64_t>(0, peak() - before.at("rss")));
  };
  const bool peaks = peak() >= 0 && before.count("rss");
  answer.mark("before");

  Ort::Session session = runtime.open(job);
  answer.mark("load");
  told("load", before, held(files));
  if (peaks) answer.figures["load_peak_rss_bytes"] = peak_above();

  Feeder feeder(session, job);
  Caller call(session, feeder);
  call(feeder.next(job.grid[0].first, job.grid[0].second));
  answer.mark("first");
  told("first", before, held(files));

  for (const auto& [batch, length] : job.grid) {
    for (int64_t i = 0; i < std::min(job.warmup + job.runs, kMostCalls); ++i) {
      call(feeder.next(batch, length));
    }
  }
  answer.mark("steady");
  told("steady", before, held(files));
  if (peaks) {
    answer.figures["peak_rss_bytes"] = peak_above();
    answer.figures["peak_process_rss_bytes"] =
        static_cast<double>(std::max(peak(), peak_until_now));
  }
  double total = 0, used = 0;
  if (runtime.arena(session, total, used)) {
    answer.figures["arena_total_bytes"] = total;
    answer.figures["arena_used_bytes"] = used;
  }
}
