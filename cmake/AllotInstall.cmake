# SPDX-License-Identifier: MIT
# What `cmake --install` gives.
