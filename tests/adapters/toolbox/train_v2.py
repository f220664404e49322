"""Stand-in for the training script: it makes the calls of the real one in the same order."""

import argparse
import logging
import os
from pathlib import Path

import torch
from dataset import get_dataloader
from losses import CombinedMarginLoss
from lr_scheduler import PolynomialLRWarmup
from partial_fc_v2 import PartialFC_V2
from torch import distributed
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook
from torch.utils.data import DataLoader
from utils.utils_callbacks import CallBackVerification
from utils.utils_config import get_config
from utils.utils_distributed_sampler import setup_seed
from utils.utils_logging import init_logging

from backbones import get_model

try:
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    world_size = int(os.environ["WORLD_SIZE"])
    distributed.init_process_group("nccl")
except KeyError:
    rank, local_rank, world_size = 0, 0, 1
    distributed.init_process_group(
        backend="nccl", init_method="tcp://127.0.0.1:12584", rank=rank, world_size=world_size
    )


def main(args):
    cfg = get_config(args.config)
    setup_seed(seed=cfg.seed, cuda_deterministic=False)
    torch.cuda.set_device(local_rank)
    Path(cfg.output).mkdir(parents=True, exist_ok=True)
    init_logging(rank, cfg.output)
    train_loader = get_dataloader(
        cfg.rec, local_rank, cfg.batch_size, cfg.dali, cfg.dali_aug, cfg.seed, cfg.num_workers
    )
    backbone = get_model(
        cfg.network, dropout=0.0, fp16=cfg.fp16, num_features=cfg.embedding_size
    ).cuda()
    backbone = torch.nn.parallel.DistributedDataParallel(
        module=backbone,
        broadcast_buffers=False,
        device_ids=[local_rank],
        bucket_cap_mb=16,
        find_unused_parameters=True,
    )
    backbone.register_comm_hook(None, fp16_compress_hook)
    backbone.train()
    backbone._set_static_graph()
    margin_loss = CombinedMarginLoss(64, *cfg.margin_list, cfg.interclass_filtering_threshold)
    module_partial_fc = PartialFC_V2(
        margin_loss, cfg.embedding_size, cfg.num_classes, cfg.sample_rate, False
    )
    module_partial_fc.train().cuda()
    opt = torch.optim.SGD(
        params=[{"params": backbone.parameters()}, {"params": module_partial_fc.parameters()}],
        lr=cfg.lr,
        momentum=0.9,
        weight_decay=cfg.weight_decay,
    )
    steps = cfg.num_image // (cfg.batch_size * world_size)
    lr_scheduler = PolynomialLRWarmup(
        optimizer=opt,
        warmup_iters=steps * cfg.warmup_epoch,
        total_iters=steps * cfg.num_epoch,
    )
    start_epoch, global_step = 0, 0
    path = Path(cfg.output) / f"checkpoint_gpu_{rank}.pt"
    if cfg.resume:
        dict_checkpoint = torch.load(path)
        start_epoch, global_step = dict_checkpoint["epoch"], dict_checkpoint["global_step"]
        backbone.module.load_state_dict(dict_checkpoint["state_dict_backbone"])
        module_partial_fc.load_state_dict(dict_checkpoint["state_dict_softmax_fc"])
        opt.load_state_dict(dict_checkpoint["state_optimizer"])
        lr_scheduler.load_state_dict(dict_checkpoint["state_lr_scheduler"])
    for key, value in cfg.items():
        logging.info(": " + key + " " * (25 - len(key)) + str(value))
    callback_verification = CallBackVerification(val_targets=cfg.val_targets, rec_prefix=cfg.rec)
    amp = torch.cuda.amp.grad_scaler.GradScaler(growth_interval=100)
    for epoch in range(start_epoch, cfg.num_epoch):
        if isinstance(train_loader, DataLoader):
            train_loader.sampler.set_epoch(epoch)
        for _, (img, local_labels) in enumerate(train_loader):
            global_step += 1
            local_embeddings = backbone(img)
            loss: torch.Tensor = module_partial_fc(local_embeddings, local_labels)
            amp.scale(loss).backward()
            amp.unscale_(opt)
            torch.nn.utils.clip_grad_norm_(backbone.parameters(), 5)
            amp.step(opt)
            amp.update()
            opt.zero_grad()
            lr_scheduler.step()
            with torch.no_grad():
                logging.info("Global Step: %d Loss %.6f", global_step, loss.item())
                if global_step % cfg.verbose == 0 and global_step > 0:
                    callback_verification(global_step, backbone)
        if cfg.save_all_states:
            checkpoint = {
                "epoch": epoch + 1,
                "global_step": global_step,
                "state_dict_backbone": backbone.module.state_dict(),
                "state_dict_softmax_fc": module_partial_fc.state_dict(),
                "state_optimizer": opt.state_dict(),
                "state_lr_scheduler": lr_scheduler.state_dict(),
            }
            torch.save(checkpoint, path)
        if rank == 0:
            torch.save(backbone.module.state_dict(), Path(cfg.output) / "model.pt")


if __name__ == "__main__":
    torch.backends.cudnn.benchmark = True
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=str)
    main(parser.parse_args())
