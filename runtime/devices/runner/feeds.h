// Feeds made up for a transformer, as toolkit/bundle/feeds.py makes them; the ids are fresh in every call,
// because with the same ids again most of a table would stay unread.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "job.h"
#include "session.h"

using Ids = std::vector<std::vector<int64_t>>;

class Feeder {
 public:
  Feeder(const Ort::Session& session, const Job& job) : job_(job), random_(job.seed) {
    Ort::AllocatorWithDefaultOptions allocator;
    for (size_t i = 0; i < session.GetInputCount(); ++i) {
      const auto info = session.GetInputTypeInfo(i);
      if (info.GetONNXType() != ONNX_TYPE_TENSOR) {
        throw std::runtime_error("an input is no tensor; give a model of tensors");
      }
      const auto tensor = info.GetTensorTypeAndShapeInfo();
      Input input;
      input.name = session.GetInputNameAllocated(i, allocator).get();
      input.type = tensor.GetElementType();
      input.dims = tensor.GetShape();
      for (const char* name : tensor.GetSymbolicDimensions()) input.symbols.emplace_back(name);
      inputs_.push_back(input);
    }
    ids_input_ = find_ids_input();
  }

  std::vector<const char*> names() const {
    std::vector<const char*> found;
    for (const Input& input : inputs_) found.push_back(input.name.c_str());
    return found;
  }

  std::vector<Ort::Value> next(int64_t batch, int64_t length) { return of(draw(batch, length)); }

  // Full masks, zero types, increasing positions, no cache.
  std::vector<Ort::Value> of(const Ids& ids) const {
    const auto batch = static_cast<int64_t>(ids.size());
    const auto length = static_cast<int64_t>(ids.at(0).size());
    Ort::AllocatorWithDefaultOptions allocator;
    std::vector<Ort::Value> feeds;
    for (const Input& input : inputs_) {
      const std::vector<int64_t> shape = shape_of(input, batch, length);
      Ort::Value value =
          Ort::Value::CreateTensor(allocator, shape.data(), shape.size(), input.type);
      int64_t count = 1;
      for (const int64_t size : shape) count *= size;
      const int64_t last = shape.empty() ? 1 : shape.back();
      for (int64_t at = 0; at < count; ++at) {
        int64_t number = 0;
        if (input.name == ids_input_) {
          number = ids[static_cast<size_t>(at / length)][static_cast<size_t>(at % length)];
        } else if (input.name == "attention_mask" || input.name == "encoder_attention_mask") {
          number = 1;
        } else if (input.name == "position_ids") {
          number = at % last;
        }
        put(value, input, at, number);
      }
      feeds.push_back(std::move(value));
    }
    return feeds;
  }

 private:
  struct Input {
    std::string name;
    ONNXTensorElementDataType type;
    std::vector<int64_t> dims;
    std::vector<std::string> symbols;
  };

  std::string find_ids_input() const {
    for (const std::string& wanted : {job_.ids_input, std::string("input_ids")}) {
      for (const Input& input : inputs_) {
        if (input.name == wanted) return wanted;
      }
    }
    for (const Input& input : inputs_) {
      const bool whole = input.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 ||
                         input.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
      if (whole && input.name != "attention_mask" && input.name != "token_type_ids" &&
          input.name != "position_ids") {
        return input.name;
      }
    }
    return "";
  }

  // 1 .. rows - 1, id k as often as 1 / k; the job's own stream, over and over, if it has one.
  Ids draw(int64_t batch, int64_t length) {
    const double rows = job_.rows > 0 ? static_cast<double>(std::max<int64_t>(job_.rows, 2)) : 1000;
    std::uniform_real_distribution<double> power(0.0, std::log(rows));
    Ids ids(static_cast<size_t>(batch), std::vector<int64_t>(static_cast<size_t>(length)));
    for (auto& text : ids) {
      for (int64_t& id : text) {
        id = job_.stream.empty()
                 ? std::min(static_cast<int64_t>(std::exp(power(random_))),
                            static_cast<int64_t>(rows) - 1)
                 : job_.stream[at_++ % job_.stream.size()];
      }
    }
    return ids;
  }

  std::vector<int64_t> shape_of(const Input& input, int64_t batch, int64_t length) const {
    std::vector<int64_t> shape = input.dims;
    const bool cache =
        input.name.rfind("past", 0) == 0 || input.name.find("cache") != std::string::npos;
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      if (shape[axis] >= 0) continue;
      const std::string& symbol = input.symbols[axis];
      // "past_sequence_length" alone is empty; "past_sequence_length + 1" counts the text as well.
      const bool past =
          symbol.find("past") != std::string::npos && symbol.find('+') == std::string::npos;
      if (axis == 0) {
        shape[axis] = batch;
      } else if (cache) {
        shape[axis] = input.name.find(".encoder.") != std::string::npos ? length : 0;
      } else {
        shape[axis] = past ? 0 : length;
      }
    }
    if (input.name == ids_input_) check_fixed(input, shape, batch, length);
    return shape;
  }

  static void check_fixed(const Input& input, const std::vector<int64_t>& shape, int64_t batch,
                          int64_t length) {
    const int64_t asked[] = {batch, length};
    const char* const what[] = {"texts", "tokens"};
    for (size_t axis = 0; axis < shape.size() && axis < 2; ++axis) {
      if (shape[axis] == asked[axis]) continue;
      const std::string fixed = std::to_string(shape[axis]);
      throw std::runtime_error("input '" + input.name + "' takes exactly " + fixed + " " +
                               what[axis] + ", asked for " + std::to_string(asked[axis]) +
                               "; use " + fixed);
    }
  }

  static void put(Ort::Value& value, const Input& input, int64_t at, int64_t number) {
    switch (input.type) {
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
        value.GetTensorMutableData<int64_t>()[at] = number;
        break;
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
        value.GetTensorMutableData<int32_t>()[at] = static_cast<int32_t>(number);
        break;
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
        value.GetTensorMutableData<float>()[at] = static_cast<float>(number);
        break;
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
        value.GetTensorMutableData<Ort::Float16_t>()[at] =
            Ort::Float16_t(static_cast<float>(number));
        break;
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL:
        value.GetTensorMutableData<bool>()[at] = number != 0;
        break;
      default:
        throw std::runtime_error("input '" + input.name + "' has a type that cannot be made up");
    }
  }

  const Job& job_;
  std::mt19937_64 random_;
  size_t at_ = 0;
  std::vector<Input> inputs_;
  std::string ids_input_;
};
