import torch
from datasets import load_dataset
from peft import LoraConfig
from transformers import (AutoModelForCausalLM, AutoTokenizer,
                          BitsAndBytesConfig)

from tuner.model import SupervisedFinetune
from tuner.parallel.sequence import SequenceParallelSampler
from mmengine.dataset import DefaultSampler

path = 'org/base-7b'
sequence_parallel_size = 2
model = dict(
    type=SupervisedFinetune,
    llm=dict(
        type=AutoModelForCausalLM.from_pretrained,
        pretrained_model_name_or_path=path,
        torch_dtype=torch.float16,
        quantization_config=dict(
            type=BitsAndBytesConfig, load_in_4bit=True, llm_int8_threshold=6.0, bnb_4bit_compute_dtype=torch.float16)),
    lora=dict(type=LoraConfig, r=64, lora_alpha=16, lora_dropout=0.1, bias='none', task_type='CAUSAL_LM'))
sampler = SequenceParallelSampler if sequence_parallel_size > 1 else DefaultSampler
train_dataloader = dict(sampler=dict(type=sampler, seed=42), dataset=dict(type=load_dataset, path='json', data_files=dict(train='a.json')))
tokenizer = dict(type=AutoTokenizer.from_pretrained, pretrained_model_name_or_path=path)
