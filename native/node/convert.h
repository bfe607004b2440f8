// The part of the addon that makes files: conversion and dummy models.
#pragma once

#include <napi.h>

#include "convert/plan.h"

namespace addon {

// What planConversion() takes: keys, and tensors with their sources. Throws JavaScript exceptions.
bitnet::ConvertRequest request_of(const Napi::Object& js);

// Adds planConversion to the addon.
void define_convert(Napi::Env env, Napi::Object exports);

}  // namespace addon
