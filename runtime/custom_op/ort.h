// What operators need of onnxruntime's API. For op.cc alone, which sets the API up.

#pragma once

#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>
#undef ORT_API_MANUAL_INIT

#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "table.h"

namespace {

// The oldest onnxruntime that this library loads into, 1.20; newer headers build it all the same.
constexpr std::uint32_t kApiVersion = 20;
constexpr std::int64_t kFloat32 = 1, kFloat16 = 10;  // of onnx.TensorProto.DataType

// Runs `work` and turns what it throws into a status; nothing may be thrown into onnxruntime.
template <typename Work>
OrtStatusPtr guarded(const Work& work) noexcept {
  try {
    work();
    return nullptr;
  } catch (const Ort::Exception& error) {
    return Ort::GetApi().CreateStatus(error.GetOrtErrorCode(), error.what());
  } catch (const std::exception& error) {
    return Ort::GetApi().CreateStatus(ORT_INVALID_ARGUMENT, error.what());
  } catch (...) {
    return Ort::GetApi().CreateStatus(ORT_FAIL, "unknown error in ai.lighttoken");
  }
}

// A tensor's values. Wrappers of newer headers call what 1.20 lacks: Ort::ConstValue::GetTensorData.
template <typename T>
const T* data_of(const OrtValue* value) {
  void* data = nullptr;
  Ort::ThrowOnError(Ort::GetApi().GetTensorMutableData(const_cast<OrtValue*>(value), &data));
  return static_cast<const T*>(data);
}

constexpr auto kFloatTensor = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
constexpr auto kFloat16Tensor = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;

void need_type(ONNXTensorElementDataType found, ONNXTensorElementDataType wanted,
               const std::string& what) {
  if (found == wanted) return;
  throw std::invalid_argument(what + " of ONNX type " + std::to_string(found) +
                              ", and attribute to says " + std::to_string(wanted));
}

// An initializer that a node reads.
struct Stored {
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  std::vector<std::int64_t> shape;
  const void* data = nullptr;  // of strings none
};

Stored stored_input(const Ort::ConstKernelInfo& info, std::size_t index, const std::string& what) {
  int constant = 0;
  const Ort::ConstValue value = info.GetTensorConstantInput(index, &constant);
  if (!constant || !value) throw std::invalid_argument(what + " is no initializer");
  const Ort::TensorTypeAndShapeInfo tensor = value.GetTensorTypeAndShapeInfo();
  Stored found{tensor.GetElementType(), tensor.GetShape(), nullptr};
  if (found.type != ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING) found.data = data_of<void>(value);
  return found;
}

Ort::ConstValue first_input(const Ort::KernelContext& context, const char* what) {
  const Ort::ConstValue value = context.GetInput(0);
  if (!value || !value.IsTensor()) throw std::invalid_argument(std::string(what) + " are missing");
  return value;
}

// onnxruntime's own threads; the calling thread alone where there is one task.
lighttoken::ForEach on_threads_of(const Ort::KernelContext& context) {
  return [&context](std::size_t count, const std::function<void(std::size_t)>& work) {
    if (count <= 1) {
      if (count) work(0);
      return;
    }
    std::vector<std::exception_ptr> errors(count);
    struct Shared {
      const std::function<void(std::size_t)>& work;
      std::vector<std::exception_ptr>& errors;
    } shared{work, errors};
    context.ParallelFor(
        [](void* data, std::size_t task) {
          auto& here = *static_cast<Shared*>(data);
          try {
            here.work(task);
          } catch (...) {
            here.errors[task] = std::current_exception();
          }
        },
        count, 0, &shared);
    for (const std::exception_ptr& error : errors) {
      if (error) std::rethrow_exception(error);
    }
  };
}

std::string wanted_kernel() {
  const char* name = std::getenv("LIGHTTOKEN_KERNEL");
  return name ? name : "";
}

// What operators are to onnxruntime: a first input, then the parts, and one output.
template <typename Op, typename Layer>
struct LayerOp : Ort::CustomOpBase<Op, Layer, /*WithStatus=*/true> {
  // `table` counts the packed tables of a model. Each has a function of its own there, and thereby a
  // name: CompressedEmbedding, CompressedEmbedding2.
  LayerOp(const char* name, int table)
      : name_(table > 1 ? name + std::to_string(table) : std::string(name)) {
    this->version = kApiVersion;
    this->InferOutputShapeFn = [](const OrtCustomOp*, OrtShapeInferContext* raw) -> OrtStatusPtr {
      return guarded([&] {
        Ort::ShapeInferContext context(&Ort::GetApi(), raw);
        Ort::ShapeInferContext::Shape shape = context.GetInputShape(0);
        for (const auto& dimension : shape) {
          // Unknown and nameless: the wrapper has no way to pass that on, and -1 would be a size.
          if (dimension.IsInt() && dimension.AsInt() < 0) return;
        }
        Op::infer_shape(context, shape);
        Ort::ThrowOnError(context.SetOutputShape(0, shape, Op::output_type(context)));
      });
    };
  }

  OrtStatusPtr CreateKernelV2(const OrtApi&, const OrtKernelInfo* raw, void** kernel) const {
    return guarded(
        [&] { *kernel = std::make_unique<Layer>(Ort::ConstKernelInfo(raw)).release(); });
  }

  const char* GetName() const { return name_.c_str(); }

  // One variadic input of mixed types.
  std::size_t GetInputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetInputType(std::size_t) const {
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  }
  OrtCustomOpInputOutputCharacteristic GetInputCharacteristic(std::size_t) const {
    return INPUT_OUTPUT_VARIADIC;
  }
  bool GetVariadicInputHomogeneity() const { return false; }
  int GetVariadicInputMinArity() const { return 2; }

  // Float or half precision, as `to` says.
  static ONNXTensorElementDataType output_type(Ort::ShapeInferContext& context) {
    return context.GetAttrInt("to") == kFloat16 ? kFloat16Tensor : kFloatTensor;
  }
  std::size_t GetOutputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetOutputType(std::size_t) const {
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  }

 private:
  std::string name_;
};

}  // namespace
