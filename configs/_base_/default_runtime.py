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
    # save every epoch: long-tailed benchmarks report the last one, so there
    # is no choice by validation. The one before is kept for a damaged disk.
    checkpoint=dict(
        type='lift_mm.CheckpointHook', interval=1, max_keep_ckpts=2
    ),
    # set sampler seed in distributed environment.
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # visualization of predictions, set True to enable it.
    visualization=dict(type='VisualizationHook', enable=False),
)

custom_hooks = [
    # logs and keeps versions, data and code; processes must agree on them.
    dict(type='lift_mm.RecordHook'),
    # finds the newest checkpoint that is whole.
    dict(type='lift_mm.ResumeHook'),
    # hands class names and counts of the dataset to head, loss and metric.
    dict(type='lift_mm.ClassInfoHook'),
    # saves what was learned, not the frozen backbone.
    dict(type='lift_mm.TunedCheckpointHook'),
    # says what was scored and chosen by what; warns of choosing by the test.
    dict(type='lift_mm.ProtocolHook'),
    # logs the running accuracy of many, medium and few-shot classes.
    dict(type='lift_mm.TrainAccuracyHook'),
    # ends a run whose loss is no number, before anything is saved.
    dict(type='lift_mm.FiniteHook'),
    # saves and leaves on SIGTERM and SIGUSR1, to go on with --resume auto.
    dict(type='lift_mm.StopHook'),
]

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # several processes without a GPU run on gloo (tools/train.py).
    # one that waits so many seconds for another gives up: it has died.
    dist_cfg=dict(backend='nccl', timeout=900),
)

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)

log_level = 'INFO'

# load from which checkpoint.
load_from = None

# whether to resume training from the loaded checkpoint.
resume = False

randomness = dict(seed=0, deterministic=False)
