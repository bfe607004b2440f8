// The part of the addon that makes files: conversion and dummy models.
#pragma once

#include <napi.h>

namespace addon {

// Adds planConversion to the addon.
void define_convert(Napi::Env env, Napi::Object exports);

}  // namespace addon
