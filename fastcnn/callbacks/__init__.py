# SPDX-License-Identifier: Apache-2.0
"""Callbacks: objects whose hooks `fit`, `evaluate` and `predict` call as they go."""

from fastcnn.callbacks.base import Callback as Callback
from fastcnn.callbacks.base import CallbackList as CallbackList
from fastcnn.callbacks.base import History as History
from fastcnn.callbacks.base import LambdaCallback as LambdaCallback
from fastcnn.callbacks.checkpoint import BackupAndRestore as BackupAndRestore
from fastcnn.callbacks.checkpoint import ModelCheckpoint as ModelCheckpoint
from fastcnn.callbacks.monitor import EarlyStopping as EarlyStopping
from fastcnn.callbacks.monitor import MonitorCallback as MonitorCallback
from fastcnn.callbacks.monitor import ReduceLROnPlateau as ReduceLROnPlateau
from fastcnn.callbacks.training import CSVLogger as CSVLogger
from fastcnn.callbacks.training import LearningRateScheduler as LearningRateScheduler
from fastcnn.callbacks.training import SwapEMAWeights as SwapEMAWeights
from fastcnn.callbacks.training import TerminateOnNaN as TerminateOnNaN
