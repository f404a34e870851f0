// ai.lighttoken.weights::TrellisProduct for onnxruntime. For op.cc alone.
//
// Inputs: rows float [.., inputs], then what exporters/ops/integer_product.py names, all of it
// initializers. Output: float [.., outputs].

#pragma once

#include "ort.h"
#include "trellis.h"

namespace {

class Product {
 public:
  explicit Product(const Ort::ConstKernelInfo& info) : trellis_(tensors_of(info), wanted_kernel()) {}

  OrtStatusPtr ComputeV2(OrtKernelContext* raw) {
    return guarded([&] {
      Ort::KernelContext context(raw);
      const Ort::ConstValue rows = first_input(context, "rows");
      const Ort::TensorTypeAndShapeInfo info = rows.GetTensorTypeAndShapeInfo();
      need_type(info.GetElementType(), kFloatTensor, "rows");
      std::vector<std::int64_t> shape = info.GetShape();
      if (shape.empty() || shape.back() != trellis_.inputs()) {
        throw std::invalid_argument("rows must have " + std::to_string(trellis_.inputs()) +
                                    " columns");
      }
      const std::size_t count = info.GetElementCount() / static_cast<std::size_t>(shape.back());
      shape.back() = trellis_.outputs();
      Ort::UnownedValue out = context.GetOutput(0, shape);
      need_type(out.GetTensorTypeAndShapeInfo().GetElementType(), kFloatTensor, "outputs");
      trellis_.multiply(data_of<float>(rows), count, out.GetTensorMutableData<float>(),
                        on_threads_of(context));
    });
  }

 private:
  static lighttoken::TrellisTensors tensors_of(const Ort::ConstKernelInfo& info) {
    static const char* const names[] = {"rows",  "columns", "codes",    "factors", "unit",
                                        "steps", "current", "previous", "rotation"};
    enum { kRows, kColumns, kCodes, kFactors, kUnit, kSteps, kCurrent, kPrevious, kRotation, kInputs };
    if (info.GetInputCount() != kInputs) {
      throw std::invalid_argument("a trellis product has " + std::to_string(kInputs) +
                                  " inputs, not " + std::to_string(info.GetInputCount()));
    }
    std::vector<Stored> stored(kInputs);
    for (std::size_t i = kColumns; i < kInputs; ++i) {
      stored[i] = stored_input(info, i, std::string(names[i]) + " of a trellis product");
    }
    const auto need = [&](std::size_t i, ONNXTensorElementDataType type,
                          const std::vector<std::int64_t>& shape) {
      if (stored[i].type != type) {
        throw std::invalid_argument(std::string(names[i]) + " of ONNX type " +
                                    std::to_string(stored[i].type) + ", and a trellis product needs " +
                                    std::to_string(type));
      }
      if (stored[i].shape == shape) return;
      throw std::invalid_argument(std::string(names[i]) +
                                  " of a trellis product has a shape that does not fit the others");
    };
    lighttoken::TrellisTensors found;
    const auto& codes = stored[kCodes].shape;
    const auto& factors = stored[kFactors].shape;
    const auto& current = stored[kCurrent].shape;
    const auto& rotation = stored[kRotation].shape;
    if (codes.size() != 2 || factors.size() != 1 || current.size() != 2 || rotation.size() != 2) {
      throw std::invalid_argument("tensors of a trellis product have other ranks than they need");
    }
    found.inputs = codes[0];
    found.bytes = codes[1];
    found.outputs = factors[0];
    found.per_byte = current[1];
    found.block = rotation[0];
    const bool half = stored[kSteps].type == kFloat16Tensor;
    need(kColumns, kFloat16Tensor, {found.inputs});
    need(kCodes, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, {found.inputs, found.bytes});
    need(kFactors, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, {found.outputs});
    need(kUnit, kFloatTensor, {});
    need(kSteps, half ? kFloat16Tensor : kFloatTensor, {found.outputs});
    need(kCurrent, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, {256, found.per_byte});
    need(kPrevious, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, {256, found.per_byte});
    need(kRotation, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, {found.block, found.block});
    found.columns = static_cast<const std::uint16_t*>(stored[kColumns].data);
    found.codes = static_cast<const std::uint8_t*>(stored[kCodes].data);
    found.factors = static_cast<const std::uint8_t*>(stored[kFactors].data);
    found.unit = *static_cast<const float*>(stored[kUnit].data);
    if (half) {
      found.half_steps = static_cast<const std::uint16_t*>(stored[kSteps].data);
    } else {
      found.steps = static_cast<const float*>(stored[kSteps].data);
    }
    found.current = static_cast<const std::int8_t*>(stored[kCurrent].data);
    found.previous = static_cast<const std::int8_t*>(stored[kPrevious].data);
    return found;
  }

  lighttoken::Trellis trellis_;
};

// A product's result is of float, whatever its inputs are.
struct ProductOp : LayerOp<ProductOp, Product> {
  ProductOp() : LayerOp("TrellisProduct", 1) {}

  static void infer_shape(Ort::ShapeInferContext& context, Ort::ShapeInferContext::Shape& shape) {
    const Ort::ShapeInferContext::Shape outputs = context.GetInputShape(3);
    if (shape.empty() || outputs.size() != 1) {
      throw std::invalid_argument("a trellis product needs rows, and a factor for each output");
    }
    shape.back() = outputs[0];
  }

  static ONNXTensorElementDataType output_type(Ort::ShapeInferContext&) { return kFloatTensor; }
  ONNXTensorElementDataType GetOutputType(std::size_t) const { return kFloatTensor; }
};

}  // namespace
