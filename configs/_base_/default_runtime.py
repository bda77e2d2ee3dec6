# mmpretrain's inferencers and test-time augmentation build in this scope;
# parts of lift_mm are named "lift_mm.X".
default_scope = 'mmpretrain'

# says clearly when the package is missing, and repairs what a current
# environment needs before anything is built.
custom_imports = dict(imports=['lift_mm'], allow_failed_imports=False)

default_hooks = dict(
    # record the time of every iteration.
    timer=dict(type='IterTimerHook'),
    # print a line every 100 iterations.
    logger=dict(type='LoggerHook', interval=100),
    # enable the parameter scheduler.
    param_scheduler=dict(type='ParamSchedulerHook'),
    # save every epoch and keep the last: long-tailed benchmarks report the
    # last epoch, so there is no choice by validation.
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=1),
    # set sampler seed in distributed environment.
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # visualization of predictions, set True to enable it.
    visualization=dict(type='VisualizationHook', enable=False),
)

custom_hooks = [
    # hands class names and counts of the dataset to head, loss and metric.
    dict(type='lift_mm.ClassInfoHook'),
    # saves what was learned, not the frozen backbone.
    dict(type='lift_mm.TunedCheckpointHook'),
    # says what was scored and chosen by what; warns of choosing by the test.
    dict(type='lift_mm.ProtocolHook'),
]

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # several processes without a GPU run on gloo (tools/train.py).
    dist_cfg=dict(backend='nccl'),
)

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)

log_level = 'INFO'

# load from which checkpoint.
load_from = None

# whether to resume training from the loaded checkpoint.
resume = False

randomness = dict(seed=0, deterministic=False)
